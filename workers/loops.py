"""The loops of the workers: steps one after another until a stop, through outages, and a thread beside a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from adapters.outage import Outage
from domain.errors import Conflict, Fault, Unavailable

PAUSE_SECONDS: Final = 1.0
"""After a step that failed."""

LISTEN_SECONDS: Final = 1.0
"""How long one wait for news lasts; a worker looks for work without them as well."""

LAST_STEP_SECONDS: Final = 5.0
"""How long a thread beside a worker may take for the step at hand."""


def run_step(step: Callable[[], object], rest: Callable[[], object], *, stop: threading.Event, outage: Outage) -> bool:
    """One step, and a rest where there was nothing to do; after an error the pause, and False."""
    try:
        worked = step()
        outage.is_over()
        if not worked:
            rest()
    except (Conflict, Unavailable, Fault) as error:
        outage.goes_on(error)
        stop.wait(PAUSE_SECONDS)
        return False
    return True


class Listener(Protocol):
    """Makes a worker look again when the log grows."""

    def wait(self, seconds: float) -> None:
        """Until it has grown, or so many seconds. Never raises."""


def listen(listener: Listener, look_again: Callable[[], None], stop: threading.Event) -> None:
    """Make a worker look again whenever the log has grown."""
    while not stop.is_set():
        listener.wait(LISTEN_SECONDS)
        look_again()


@contextmanager
def beside(run: Callable[[threading.Event], None], name: str, stop: threading.Event | None = None) -> Iterator[None]:
    """Run in a thread while the block runs, or until `stop`; the step at hand is finished, or left behind then."""
    stop = stop or threading.Event()
    thread = threading.Thread(target=run, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LAST_STEP_SECONDS)
