"""Sweeper: the background sweep, in a thread beside a worker.

In a thread of a provisioner, with parts of its own: streams that are folded for the saga are not for two threads. Every
provisioner has one; of all of them one holds the ledger and sweeps, and another takes over where that one ends.
Whatever goes wrong in it is logged and tried again: it must never end the worker that it lives in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from adapters.outage import Outage
from application.drift_sweep import DriftSweep
from domain.errors import TenantryError
from workers.loops import beside

log = structlog.get_logger(__name__)

AGAIN: Final = timedelta(seconds=10)
"""The pause after something went wrong."""

Made = Callable[[], AbstractContextManager[DriftSweep]]


def sweeping(make: Made | None, *, outage: Outage) -> AbstractContextManager[None]:
    """Sweep while the block runs; None: not at all."""
    return nullcontext() if make is None else beside(partial(_sweep, make, outage), "sweeper")


def _sweep(make: Made, outage: Outage, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            with make() as made:
                while not stop.is_set():
                    pause = made.step()
                    outage.is_over()
                    stop.wait(pause.total_seconds())
        except TenantryError as error:
            outage.goes_on(error)
        except Exception:
            log.exception("the background sweep goes on later")
        stop.wait(AGAIN.total_seconds())
