"""Sealer: it seals the log at regular intervals.

A thread beside the relay, every so many seconds: what was committed since then is hashed, behind the high-water mark,
and a checkpoint signed. An idle look reads a handful of rows. Several at once wait for each other and find nothing left
to do. A seal that fails is logged and tried again; an event that was tampered with is logged as an error, each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import structlog

from adapters.outage import Outage
from audit.seal import Sealed
from domain.errors import Tampered, TenantryError
from workers.loops import beside

log = structlog.get_logger(__name__)


def sealing(seal: Callable[[], Sealed], seconds: float, *, outage: Outage) -> AbstractContextManager[None]:
    """Seal at that pace while the block runs; 0 is never."""
    return beside(partial(_run, seal, seconds, outage), "sealer") if seconds else nullcontext()


def _run(seal: Callable[[], Sealed], seconds: float, outage: Outage, stopped: threading.Event) -> None:
    while not stopped.wait(seconds):
        try:
            sealed = seal()
        except Tampered as error:
            log.error("the log is not sealed any further", reason=str(error))  # noqa: TRY400 - one line says it
        except TenantryError as error:
            outage.goes_on(error)
        else:
            outage.is_over()
            if sealed.events and sealed.note is not None:
                log.info("log sealed", events=sealed.events, size=sealed.note.checkpoint.size)
