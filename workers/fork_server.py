"""Fork server: it starts the workers of `tenantry up` without Python's imports each time.

The standard library's fork server imports everything once; every worker is a fork of it, ready within milliseconds and
sharing its memory. The fork server has no thread and no connection, so there is nothing that a fork could break.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

from application.problem_texts import sentence
from domain.errors import TenantryError, UsageError, problem
from runtime.compose import Parts
from runtime.instance import Endpoints
from runtime.settings import Settings
from runtime.telemetry import configure_logging
from workers import roles

_AT_ONCE: Final = (
    "runtime.compose.parts",
    "adapters.encryption",
    "adapters.kafka.kafka_python",
    "adapters.kafka.record_batches",
    "adapters.postgres.event_log",
    "adapters.postgres.living_products",
    "adapters.postgres.past",
    "adapters.postgres.sessions",
    "adapters.resources.topology",
    "application.adoption",
    "application.reconcile",
    "context.service.run",
)
"""What composition imports when a process first asks for it: every worker asks, so the fork server imports it once."""

_forks = multiprocessing.get_context("forkserver")


def open_early() -> None:
    """Let the fork server import while something else is waited for.

    Raises UsageError where its socket, in the folder for temporary files, would have too long a path.
    """
    _forks.set_forkserver_preload(["__main__", __name__, *_AT_ONCE])
    try:
        forkserver.ensure_running()
    except OSError as error:
        if error.errno is not None or "AF_UNIX" not in str(error):  # Python's own check of the length has no number
            raise
        raise UsageError(problem("temporary-folder-too-long", folder=tempfile.gettempdir())) from error


def begin(kind: str, settings: Settings, endpoints: Endpoints, log_file: Path) -> ForkServerProcess:
    """A process that runs one worker. What it says is appended to `log_file`; it drains when this process is gone.

    Settings and addresses reach it by a pipe: no secret is on a command line.
    """
    process = _forks.Process(target=_live, args=(kind, settings, endpoints, log_file), name=kind)
    process.start()
    return process


def _live(kind: str, settings: Settings, endpoints: Endpoints, log_file: Path) -> None:
    os.setsid()  # Ctrl-C is for the supervisor: it tells us
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    try:
        with Parts(settings, endpoints) as parts:
            roles.run(kind, parts)
    except TenantryError as error:
        sys.exit(f"error: {sentence(error)}")
