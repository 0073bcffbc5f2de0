"""One cell of the matrix: an outage under load, and the verdict on it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Final

from domain.errors import TenantryError
from tests.outages.cells import Cell
from tests.outages.installation import Installation, Progress, told
from tests.outages.logs import LogWatch

BACK_SECONDS: Final = 5.0
"""From the end of an outage until every worker is at work again by itself."""

PATIENCE: Final = 25.0
"""Seconds for that, until we stop looking."""

SETTLES_SECONDS: Final = 90.0
LOST: Final = "messages are lost"
ASKED_FROM: Final = 5.0
"""An outage shorter than that is over before an operator has asked what it is."""


@dataclass(slots=True)
class Verdict:
    """What came of one cell. `back`: after how many seconds each worker was at work again; None: not seen."""

    cell: str
    seconds: float
    messages: int = 0
    back: dict[str, float | None] = field(default_factory=dict)
    status: str = "-"
    faults: list[str] = field(default_factory=list)
    is_lasting: bool = False
    """Whether what went wrong is still there: the next cell needs another installation."""

    def row(self) -> tuple[str, str, str, str, str, str]:
        """Cell, duration, messages, back after s, status line seen, verdict."""
        slowest = max(self.back.items(), key=lambda item: item[1] if item[1] is not None else 1e9, default=None)
        if slowest is None:
            back = "-"
        elif slowest[1] is None:
            back = f"never ({slowest[0]})"
        else:
            back = f"{slowest[1]:.1f} ({slowest[0]})"
        verdict = "; ".join(self.faults) or "good"
        return self.cell, f"{self.seconds:g}", str(self.messages), back, self.status, verdict


def run(installation: Installation, cell: Cell, seconds: float) -> Verdict:
    """The cell under load, from a second before until everything has settled."""
    verdict = Verdict(cell.name, seconds)
    log = LogWatch(installation.logs())
    with installation.load() as load:
        time.sleep(1.0)
        with cell.begins(installation):
            began, before = time.monotonic(), installation.progress() if cell.meanwhile else {}
            _look(installation, cell, seconds, verdict)
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            if before and seconds >= ASKED_FROM:
                _stayed(installation, cell, before, verdict)
        _come_back(installation, cell, verdict)
    verdict.messages, before_settling = len(load.sent), len(verdict.faults)
    try:
        installation.settles(load, seconds=SETTLES_SECONDS)
        unaccounted = installation.unaccounted()
        if unaccounted:
            verdict.faults.append(f"{len(unaccounted)} {LOST}, the first: {unaccounted[0].place}")
        disagreements = installation.disagreements()
        if disagreements:
            verdict.faults.append(f"the oracle disagrees in {len(disagreements)}: {told(disagreements[0])}")
    except TenantryError as error:
        verdict.faults.append(f"does not settle: {error}")
    verdict.is_lasting = len(verdict.faults) > before_settling
    verdict.faults += log.faults(flaps=cell.flaps, seconds=seconds)
    return verdict


def _look(installation: Installation, cell: Cell, seconds: float, verdict: Verdict) -> None:
    """What does `status` say, late in the outage? Judged only where it has answered before the end."""
    asked_after = max(seconds / 2, seconds - 8)
    if not cell.status or seconds < ASKED_FROM or asked_after < cell.known_after:
        return
    began = time.monotonic()
    time.sleep(asked_after)
    said = installation.status()
    if time.monotonic() - began > seconds:
        return
    lines = (said.stdout + said.stderr).splitlines()
    verdict.status = next((line.strip(" │") for line in lines if re.search(cell.status, line)), "")[:120]
    if not verdict.status:
        verdict.faults.append(f"status does not say it (looked for {cell.status})")


def _stayed(installation: Installation, cell: Cell, before: Progress, verdict: Verdict) -> None:
    """Without an intake there is nothing to do for anybody."""
    after = installation.progress()
    kinds = [kind for kind in cell.meanwhile if kind != installation.asleep] if installation.asleep != "intake" else []
    verdict.faults += [f"the {kind} stands still meanwhile" for kind in kinds if after[kind] <= before[kind]]


def _come_back(installation: Installation, cell: Cell, verdict: Verdict) -> None:
    """When does each worker do something for the first time?"""
    ended, base = time.monotonic(), installation.progress()
    verdict.back = dict.fromkeys(cell.back)
    while time.monotonic() - ended < PATIENCE and None in verdict.back.values():
        time.sleep(0.05)
        now, elapsed = installation.progress(), time.monotonic() - ended
        for kind in cell.back:
            if verdict.back[kind] is None and now[kind] > base[kind]:
                verdict.back[kind] = elapsed
    late = [kind for kind, after in verdict.back.items() if after is None or after > BACK_SECONDS]
    verdict.faults += [f"the {kind} is not back after {BACK_SECONDS:g} s" for kind in late]
