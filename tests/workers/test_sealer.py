"""Does the log get sealed by itself, and go on getting sealed after a failure?"""

from __future__ import annotations

import threading

import structlog

from adapters.outage import Outage
from audit.seal import Sealed
from domain.errors import Tampered, Unavailable
from workers.sealer import sealing


def test_it_seals_again_and_again_whatever_came_of_the_last_time() -> None:
    outcomes: list[Exception] = [Unavailable("gone"), Tampered("changed")]
    done = threading.Event()

    def seal() -> Sealed:
        if outcomes:
            raise outcomes.pop(0)
        done.set()
        return Sealed(None, 0, 0.0)

    with structlog.testing.capture_logs() as told, sealing(seal, 0.01, outage=Outage("the seal")):
        assert done.wait(5)
    assert [(line["log_level"], line.get("reason")) for line in told] == [
        ("warning", "gone"),
        ("error", "changed"),
        ("info", None),
    ]


def test_a_pace_of_0_is_never() -> None:
    def seal() -> Sealed:
        raise AssertionError

    with sealing(seal, 0, outage=Outage("the seal")):
        pass
