"""How does a test run a rebuild as a process that can be killed, and plant a handler that fails?"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import history.rebuild.loading
from domain.event import Recorded
from history.rebuild.replay import Replay
from projections import PROJECTIONS, licenses
from projections.base import Change, Projection
from tests.history.stories import PlainSources


def failing(recorded: Recorded) -> Sequence[Change]:
    if recorded.position >= 150:
        raise KeyError("what the handler did not expect")
    return list(licenses.PROJECTION.handle(recorded))


@dataclass(frozen=True, slots=True)
class FailingSources(PlainSources):
    """The handler of `licenses` fails from position 150 on."""

    def read_models(self) -> Sequence[Projection]:
        broken = replace(licenses.PROJECTION, handle=failing)
        return [broken if each is licenses.PROJECTION else each for each in PROJECTIONS]


@dataclass(frozen=True, slots=True)
class SlowSources(PlainSources):
    """Each worker says that it is there, and is slow."""

    def read_models(self) -> Sequence[Projection]:
        history.rebuild.loading.READ_EVENTS = 20  # type: ignore[misc]
        history.rebuild.loading.FLUSH_CHANGES = 20  # type: ignore[misc]
        history.rebuild.loading.WINDOW = 40  # type: ignore[misc]
        return [replace(each, handle=_Slow(each)) for each in PROJECTIONS]


@dataclass(frozen=True, slots=True)
class UnevenSources(PlainSources):
    """Every third window takes long; a fold is written several times in a window."""

    def read_models(self) -> Sequence[Projection]:
        history.rebuild.loading.READ_EVENTS = 4  # type: ignore[misc]
        history.rebuild.loading.FLUSH_CHANGES = 6  # type: ignore[misc]
        history.rebuild.loading.WINDOW = UNEVEN  # type: ignore[misc]
        return [replace(each, handle=_Slow(each, of=3)) for each in PROJECTIONS]


UNEVEN: Final = 10


@dataclass(frozen=True, slots=True)
class _Slow:
    """`of`: every how many windows."""

    projection: Projection
    of: int = 1

    def __call__(self, recorded: Recorded) -> Sequence[Change]:
        if (recorded.position - 1) // UNEVEN % self.of == 0:
            time.sleep(0.005)
        return list(self.projection.handle(recorded))


def tell(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":  # python -m tests.history.rebuilding URL
    Replay(SlowSources(sys.argv[1]), say=lambda told: tell(told.doing)).rebuild([], workers=2)
