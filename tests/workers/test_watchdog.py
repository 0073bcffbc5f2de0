"""Watchdog of systemd: it hears of a worker that is ready and moves, and no more of one that is stuck."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from adapters.outage import Outage
from domain.errors import Unavailable
from workers.probes import STUCK_SECONDS
from workers.watchdog import watched


class Heart:
    is_ready = True


@pytest.fixture
def systemd() -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A socket that listens as systemd's does, and what it says in the environment."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        place = str(Path(directory) / "notify")
        listener.bind(place)
        listener.settimeout(0.7)
        yield listener, {"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "300000"}


def heard(listener: socket.socket, count: int) -> list[str]:
    said: list[str] = []
    with suppress(TimeoutError):
        while len(said) < count:
            said.append(listener.recv(100).decode())
    return said


def test_a_worker_that_moves_is_ready_and_keeps_the_watchdog_quiet(
    systemd: tuple[socket.socket, dict[str, str]],
) -> None:
    listener, environment = systemd
    with watched(Heart(), Outage("the relay"), environment):
        assert heard(listener, 4) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
    assert heard(listener, 9)[-1] == "STOPPING=1"


def test_a_loop_that_is_stuck_no_longer_tells_the_watchdog(systemd: tuple[socket.socket, dict[str, str]]) -> None:
    listener, environment = systemd
    loop = Outage("the relay")
    loop.moved_at -= STUCK_SECONDS + 1
    with watched(Heart(), loop, environment):
        assert heard(listener, 2) == ["READY=1"]


def test_a_worker_that_waits_before_it_is_ready_asks_for_more_time_and_does_not_stop(
    systemd: tuple[socket.socket, dict[str, str]],
) -> None:
    listener, environment = systemd
    heart, loop = Heart(), Outage("the relay")
    heart.is_ready = False
    loop.goes_on(Unavailable("run the migration", why="not-migrated"))
    with watched(heart, loop, environment):
        assert heard(listener, 4) == ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000"] * 2
    assert "STOPPING=1" not in heard(listener, 9)


def test_nothing_is_told_where_nobody_asked() -> None:
    with watched(Heart(), Outage("the relay"), {}):
        pass


def test_a_service_manager_that_is_gone_ends_no_worker(tmp_path: Path) -> None:
    with watched(Heart(), Outage("the relay"), {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "300000"}):
        pass
