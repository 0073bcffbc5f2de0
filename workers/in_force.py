"""The recorder of what is in force as a thread beside the context projector: the one that is elected records.

It looks four times a second. Whatever goes wrong is told as an outage and tried again: what it has observed is
forgotten then, so that it waits anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adapters.outage import Outage
from application.in_force import InForceRecorder
from domain.errors import TenantryError

LOOK_SECONDS = 0.25


@contextmanager
def recording_in_force(recorder: InForceRecorder, *, is_elected: Callable[[], bool], outage: Outage) -> Iterator[None]:
    """Record while the block runs."""
    stopped = threading.Event()
    thread = threading.Thread(
        target=_run, args=(recorder, is_elected, stopped, outage), name="in-force-recorder", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(timeout=5)


def _run(recorder: InForceRecorder, is_elected: Callable[[], bool], stopped: threading.Event, outage: Outage) -> None:
    while not stopped.wait(LOOK_SECONDS):
        if not is_elected():
            recorder.forget()
            continue
        try:
            recorder.step()
            outage.is_over()
        except TenantryError as error:
            recorder.forget()
            outage.goes_on(error)
