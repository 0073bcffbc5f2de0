"""Fork server of a rebuild: it imports what the workers need while the process that will start them still prepares.

The standard library's fork server imports everything once, and each worker is a fork of it. It has no thread and no
connection, so there is nothing that a fork could break.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from typing import Final

FORKS: Final = multiprocessing.get_context("forkserver")


def open_early(*modules: str) -> None:
    """Start it, where it does not run yet; `modules` are imported beside those that every worker needs."""
    FORKS.set_forkserver_preload(["history.rebuild.replay", *modules])
    forkserver.ensure_running()
