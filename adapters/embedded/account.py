"""The system account that runs PostgreSQL under root, and the folders that it must be able to walk through.

PostgreSQL refuses to run as root. Under root it runs as the system account `tenantry`, made when missing. That account
must be able to walk to the data and to the binaries, so each folder on the way is opened for walking through (o+x: no
listing, no reading). To keep the data elsewhere, behind a pointer, would leave the folders alone; but a person who then
copied or deleted the directory would miss the data.
"""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from adapters.embedded.embedded_part import EmbeddedPartFailed

log = logging.getLogger(__name__)

ACCOUNT: Final = "tenantry"


def unprivileged_account() -> pwd.struct_passwd | None:
    """Under root the unprivileged account that runs PostgreSQL, made when missing; None for all others."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    program = shutil.which("useradd", path=f"{os.defpath}:/usr/sbin:/sbin")
    if program is not None:
        options = ("--system", "--user-group", "--no-create-home", "--shell", "/bin/false")
        subprocess.run([program, *options, ACCOUNT], check=False, capture_output=True)  # noqa: S603
    try:
        return pwd.getpwnam(ACCOUNT)  # also where another process made it first
    except KeyError:
        raise EmbeddedPartFailed("embedded-as-root", account=ACCOUNT) from None


def let_walk_through(folders: Iterable[Path]) -> None:
    for folder in folders:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            log.warning("opened %s for walking through, so that PostgreSQL can reach its files", folder)
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def let_read(installation: Path) -> None:
    """A wheel that root installed under a narrow umask is closed to the account; programs are no secrets."""
    let_walk_through(installation.parents)
    if (installation / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        return
    for path in (installation, *installation.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
