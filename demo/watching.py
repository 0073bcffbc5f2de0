"""The console beside the demo: its address from the beginning on, and until Ctrl-C at the end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from domain.errors import UsageError, problem
from runtime.compose import Process
from runtime.instance import Endpoints
from runtime.settings import Settings

START_SECONDS = 30.0


def check_installed() -> None:
    """Raises UsageError before anything is started."""
    if any(find_spec(name) is None for name in ("starlette", "jinja2", "uvicorn")):
        raise UsageError(problem("console-not-installed"))


@contextmanager
def console_beside(settings: Settings, endpoints: Endpoints) -> Iterator[str]:
    """A console in a thread, for as long as the block lasts; its address, with the token."""
    from console.run import ConsoleAddress, access_of, serve  # noqa: PLC0415 - uvicorn, where it is asked for
    from runtime.compose.console import console_parts_of  # noqa: PLC0415

    place, stop, came = ConsoleAddress(), threading.Event(), threading.Event()
    access, ports = access_of(settings, place), list[int]()

    def ready(port: int) -> None:
        ports.append(port)
        came.set()

    with Process(settings, endpoints) as process:
        made_of = console_parts_of(process)
        thread = threading.Thread(
            target=lambda: serve(made_of, access, place, stop=stop, ready=ready), name="console", daemon=True
        )
        thread.start()
        came.wait(START_SECONDS)
        try:
            yield f"http://{place.host}:{ports[0]}/?token={access.token}"
        finally:
            stop.set()
            thread.join(START_SECONDS)


def stay(say: Callable[[], None]) -> None:
    """Until Ctrl-C or SIGTERM."""
    stop = threading.Event()
    before = [signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)]
    say()
    stop.wait()
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)
