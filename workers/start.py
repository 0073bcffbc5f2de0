"""Start of a process: it waits until the database has the tables of its version.

    newer than the tables ──▶ waits; /readyz, its card and `tenantry status` say for what ──migration──▶ goes on
    no database           ──▶ the same, where it goes away while the process waits

To end and start again would not help. The heart beats meanwhile as a kind of its own, `waiting KIND`: older projectors
leave a share of the read models to every projector that they hear of. A process that need not wait opens nothing here.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from adapters.outage import Outage
from domain.errors import Unavailable
from runtime.compose.heartbeats import heartbeat_of
from runtime.compose.process import Process
from workers.probes import probed
from workers.watchdog import watched

LOOK_SECONDS = 0.5


def await_prepared(
    process: Process,
    kind: str,
    expect: Callable[[], object],
    stop: threading.Event,
    *,
    kinds: Iterable[str] = (),
) -> None:
    """Until `expect` raises Unavailable no more, or `stop` is set; `kinds` are all of the fleet (probes.py)."""
    outage = Outage(f"the {kind}")
    if _is_prepared(expect, outage):
        return
    heart = heartbeat_of(process, f"waiting {kind}", outages=[outage])
    heart.start()
    try:
        with probed(process, kind, heart, [outage], kinds=kinds), watched(heart, outage):
            while not stop.wait(LOOK_SECONDS) and not _is_prepared(expect, outage):
                pass
    finally:
        heart.stop()


def _is_prepared(expect: Callable[[], object], outage: Outage) -> bool:
    try:
        expect()
    except Unavailable as error:
        outage.goes_on(error)
        return False
    outage.is_over()
    return True


def awaits_schema(process: Process, service: str) -> bool:
    """Whether the service may serve: the tables are there. False where a signal told it to end meanwhile.

    Raises Unavailable where the database does not answer at the start.
    """
    process.knock()
    with stop_signal() as stop:
        await_prepared(process, service, process.expect_schema, stop)
        return not stop.is_set()


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """Set by SIGTERM and Ctrl-C while the block runs; then the handlers are as they were. In the main thread."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
