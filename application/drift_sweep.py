"""Drift sweep: how far the background sweep is, and whether it may go on.

    due ──▶ page after page, with a pause for each tenant ──▶ through, due again after the interval
                 │
                 └── too much is missing in one place ──▶ stopped, until an operator's sweep has gone through

Its findings are recorded page by page, for after a whole pass they would be a day old. So what is missing is counted
over the pass so far, before anything of a page is recorded: a server that is empty costs as many scopes as the policy
lets go missing, and no more. The count is written before the findings: a process that is killed between the two has
counted too much, and the next pass finds what was not recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from application.drift_detection import DriftDetector, Sweep
from application.ports.clock import Clock
from domain.drift import suspicious
from domain.operator import Operator
from domain.policy import Drift

PAGE: Final = 50
"""Tenants that are looked at together: some queries, then their pause."""

STAND_BY: Final = timedelta(seconds=10)
"""After it an idle worker looks whether that is still so."""

BY: Final = Operator("the background sweep")


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """`started_at` is None between two passes; `after` is the last tenant that was looked at in this one.

    `looked_at`, `absent`: scopes by place; `unreachable`: places that were not looked at, and why.
    """

    finished_at: datetime
    started_at: datetime | None = None
    after: str = ""
    tenants: int = 0
    handed_over: int = 0
    looked_at: Mapping[str, int] = field(default_factory=dict)
    absent: Mapping[str, int] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)
    stopped_at: datetime | None = None
    reason: str | None = None


class Ledger(Protocol):
    """Keeps the progress; of all processes one holds it."""

    def hold(self) -> bool:
        """Whether this process is the one that sweeps. Raises Unavailable."""

    def read(self) -> SweepProgress: ...

    def write(self, progress: SweepProgress) -> None: ...


@dataclass(frozen=True, slots=True)
class DriftSweep:
    """One step after another; `pause` is for each tenant. `reconciling` is made when it is first needed."""

    reconciling: Callable[[], DriftDetector]
    ledger: Ledger
    drift: Drift
    clock: Clock
    interval: timedelta
    pause: timedelta

    def step(self) -> timedelta:
        """Look at the next page, if it is ours to look; how long to wait until the next step."""
        if not self.ledger.hold():
            return STAND_BY
        progress, now = self.ledger.read(), self.clock()
        if progress.stopped_at is not None:
            return STAND_BY
        if progress.started_at is None:
            due = progress.finished_at + self.interval
            if now < due:
                return min(STAND_BY, due - now)
            progress = SweepProgress(progress.finished_at, started_at=now)
        page = self.reconciling().tenants_after(progress.after, PAGE)
        if not page:
            self.ledger.write(replace(progress, started_at=None, finished_at=now, after=""))
            return min(STAND_BY, self.interval)
        sweep = self.reconciling().look(page)
        progress = _counted(progress, sweep, after=page[-1])
        if why := _suspicion(progress, self.drift):
            self.ledger.write(replace(progress, stopped_at=now, reason=why))
            return STAND_BY
        self.ledger.write(progress)
        if sweep.drifted or sweep.unsettled:
            mended = self.reconciling().mend(sweep, by=BY)
            self.ledger.write(replace(progress, handed_over=progress.handed_over + len(mended.handed_over)))
        return self.pause * len(page)


def _counted(progress: SweepProgress, sweep: Sweep, *, after: str) -> SweepProgress:
    return replace(
        progress,
        after=after,
        tenants=progress.tenants + sweep.tenants,
        looked_at=Counter(progress.looked_at) + sweep.looked_at,
        absent=Counter(progress.absent) + sweep.absent,
        unreachable={**progress.unreachable, **sweep.unreachable},
    )


def _suspicion(progress: SweepProgress, drift: Drift) -> str | None:
    places = suspicious(progress.absent, progress.looked_at, drift)
    texts = [f"{where}: {progress.absent[where]} of {progress.looked_at[where]} scopes are missing" for where in places]
    return "; ".join(texts) or None
