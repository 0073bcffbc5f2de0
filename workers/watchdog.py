"""Watchdog of systemd: tells it when the worker is ready, and that its loop still moves.

systemd names a socket in NOTIFY_SOCKET, and in WATCHDOG_USEC after how long a silence it starts the worker again
(sd_notify(3)). Without them nothing is told. The loop is what is told of, not the process: a thread that answers while
the loop is stuck would hide it. A worker that waits before it is ready, for a migration, asks for more time to start.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from adapters.outage import Outage
from workers.loops import beside
from workers.probes import STUCK_SECONDS, Heart

LOOK_SECONDS: Final = 0.5


@contextmanager
def watched(heart: Heart, loop: Outage | None, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Tell systemd of the worker while the block runs, where systemd has asked for it."""
    if not (place := environment.get("NOTIFY_SOCKET")):
        yield
        return
    pause = int(environment.get("WATCHDOG_USEC") or 0) / 3e6
    with beside(partial(_tell, place, heart, loop, pause), "watchdog"):
        yield
    if heart.is_ready:
        _say(place, "STOPPING=1")


def _tell(place: str, heart: Heart, loop: Outage | None, pause: float, stop: threading.Event) -> None:
    is_ready = False
    announced_at = float("-inf")
    while not stop.is_set():
        now = time.monotonic()
        if heart.is_ready and not is_ready:
            is_ready = _say(place, "READY=1")
        if pause and now - announced_at >= pause and (loop is None or now - loop.moved_at <= STUCK_SECONDS):
            announced_at = now
            _say(place, "WATCHDOG=1")
            if loop is not None and loop.waits and not is_ready:
                _say(place, f"EXTEND_TIMEOUT_USEC={STUCK_SECONDS * 1e6:.0f}")
        stop.wait(min(LOOK_SECONDS, pause) if pause else LOOK_SECONDS)


def _say(place: str, text: str) -> bool:
    """Whether it was said: a service manager that does not listen must not end a worker."""
    address = "\0" + place[1:] if place.startswith("@") else place
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(1.0)
        sender.sendto(text.encode(), address)
        return True
    return False
