"""How is a worker killed at every point, and who finds out what came of it?

A worker that nobody strikes sees one tenant through its whole life, and tells each point that it passes. Then each of
these points has its turn, with a tenant of its own: SIGKILL there, and the next worker, which takes up what the last
one left, until it is struck down at the next point with the next tenant. When all tenants have come as far, the oracle
of the demo looks at everything at once. A tenant is struck at most once in each chapter of its life:

    opens    all steps are ensured          it was created with a product
    closes   they are ensured as closed     it was destroyed
    goes     all but its name is removed    its restore window is over
    is gone  its name is removed            the name has cooled down

Other tenants do not come to life. A step fails for good each time that an operator tries again what was given up last,
and workers are killed from that failure on, while what was there is undone in reverse:

    stands          nothing is whole yet               its site and its product are not ready
    its site        product, family and site go        step 5 of the site
    its family      the family goes                    step 6, after the site was tried again
    its product     the product goes, then its family  step 7, after the family was tried again
    is mended       all steps are ensured              nothing; the product is tried again
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, get_args

from domain.scope.steps import Scope, Step
from tests.crashes.cloud import JIRA, REGIONS, Cloud, passed
from tests.crashes.failing import Fails
from tests.crashes.points import Place, Point
from tests.crashes.worker import Strike
from tests.domain.given import POLICY

Life = Literal["opens", "closes", "goes", "is gone"]
Undoing = Literal["stands", "its site", "its family", "its product", "is mended"]
Chapter = Life | Undoing
LIFE: Final[tuple[Chapter, ...]] = get_args(Life)
UNDOING: Final[tuple[Chapter, ...]] = get_args(Undoing)

FAILS: Final[Mapping[Chapter, Fails]] = {
    "stands": {("site", Step.IDENTITY): "for now", ("product", Step.LICENSE): "for now"},
    "its site": {("site", Step.IDENTITY): "for good", ("product", Step.LICENSE): "for now"},
    "its family": {("family", Step.DATABASE): "for good"},
    "its product": {("product", Step.LICENSE): "for good"},
}

APART = timedelta(seconds=16)
"""So much further apart than lives are tenants destroyed: each is due alone when its window is over."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in a chapter at which a worker is killed."""

    chapter: Chapter
    place: Place

    def __str__(self) -> str:
        return f"{self.chapter}: {' and '.join(sorted(map(str, self.place)))}"


@dataclass
class Matrix:
    """The lives of many tenants of a region, chapter by chapter, and the workers that were killed on the way."""

    cloud: Cloud
    region: str
    diaries: Path
    chapters: Sequence[Chapter] = LIFE
    struck: dict[str, list[Cell]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def cells(self) -> list[Cell]:
        """Every place that a worker passes."""
        found: list[Cell] = []
        tenant = "first"
        for chapter in self.chapters:
            diary = self.diaries / chapter
            self.cloud.fails = FAILS.get(chapter, {})
            self._begins(chapter, tenant)
            assert self.cloud.lives(diary=diary) == 0
            told = [entry["place"] for entry in passed(diary, tenant) if "place" in entry]
            places = list(dict.fromkeys(frozenset(Point(*point) for point in place) for place in told))
            if self.chapters is UNDOING:
                places = _undoing(chapter, places)
            found += [Cell(chapter, place) for place in places]
            self.cloud.settles()
            self.cloud.wave += 1
        if self.chapters is LIFE:
            self.cloud.gone.add(tenant)
        return found

    def kills(self, cells: Sequence[Cell]) -> None:
        """Kill a worker at each of them. What does not come about after it is in `wrong`."""
        self._neighbours_move_in()
        tenants = self._cast(cells)
        for chapter in self.chapters:
            self.cloud.fails = FAILS.get(chapter, {})
            for tenant, parts in tenants.items():
                self._begins(chapter, tenant)
                if chapter in parts:
                    self._strikes(tenant, parts[chapter])
            self.cloud.settles()
            if chapter == "is gone":
                self.cloud.gone |= tenants.keys()
            if chapter not in ("goes", "stands"):  # of what is half there or half gone the oracle does not speak
                self._checks(chapter)
            self.cloud.wave += 1

    def _neighbours_move_in(self) -> None:
        for region in REGIONS:
            self.cloud.creates(f"near-{region}", region=region)
        self.cloud.settles()
        for region in REGIONS:
            self.cloud.writes(f"near-{region}", "ours")

    def _cast(self, cells: Sequence[Cell]) -> dict[str, dict[Chapter, Cell]]:
        """As few tenants as can be, each with what happens to it in a chapter.

        A tenant's name is due alone where the tenant began to go alone: the last of those that were struck then.
        """
        cast: dict[str, dict[Chapter, Cell]] = {}
        for chapter in self.chapters:
            here = [cell for cell in cells if cell.chapter == chapter]
            going = sum("goes" in parts for parts in cast.values()) if chapter == "is gone" else 0
            for number, cell in enumerate(here, start=max(0, going - len(here))):
                cast.setdefault(f"t-{number}", {})[chapter] = cell
        return cast

    def _strikes(self, tenant: str, cell: Cell) -> None:
        code = self.cloud.lives(strike=Strike(tenant, cell.place, signal.SIGKILL))
        assert code == -signal.SIGKILL, f"no worker came to the point where {tenant} {cell}: it ended with {code}"
        self.struck.setdefault(tenant, []).append(cell)

    def _begins(self, chapter: Chapter, tenant: str) -> None:
        cloud = self.cloud
        match chapter:
            case "opens" | "stands":
                cloud.creates(tenant, region=self.region)
            case "closes":
                cloud.says("tenant.destroyed", tenant, reason="over")
                cloud.passes(APART)
            case "goes":
                destroyed = cloud.snapshot(tenant).tenant.destroyed
                assert destroyed is not None
                cloud.now = max(cloud.now, destroyed.at + POLICY.restore_window + timedelta(seconds=1))
            case "is gone":
                purge = cloud.snapshot(tenant).tenant.purge
                assert purge is not None
                cloud.now = max(cloud.now, purge.at + POLICY.site_name_cool_down + timedelta(seconds=1))
            case "its site":
                cloud.tells_of_the_customer(tenant)
                cloud.undone[tenant] = "site"
            case "its family":
                cloud.tries_again(Scope("site", tenant))
                cloud.undone[tenant] = "family jira"
            case "its product":
                cloud.tries_again(Scope("family", tenant, "jira"))
                cloud.undone[tenant] = JIRA
            case "is mended":
                cloud.tries_again(Scope("product", tenant, JIRA))
                del cloud.undone[tenant]

    def _checks(self, chapter: Chapter) -> None:
        """Whatever is not as it must be, and at which points workers were killed with its tenant."""
        for disagreement in self.cloud.disagreements():
            concerned = [
                cell for tenant, cells in self.struck.items() if f"{tenant}'" in str(disagreement) for cell in cells
            ]
            self.wrong.append(f"when all {chapter}: {disagreement} {[str(cell) for cell in concerned]}")
        for region in REGIONS:
            if self.cloud.reads(f"near-{region}") != ["ours"]:
                self.wrong.append(f"when all {chapter}: a neighbour in {region} has lost what it wrote")

    # -- telling -------------------------------------------------------------------------------------------------------

    def table(self) -> list[str]:
        """Kills by what the worker was at: before, within and after."""
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for cell in (cell for cells in self.struck.values() for cell in cells):
            for point in cell.place:
                row = counts.setdefault((cell.chapter, f"{point.kind} {point.act}"), {})
                column = point.moment if point.moment in ("before", "after") else "within"
                row[column] = row.get(column, 0) + 1
        lines = [f"{'chapter':12}{'the worker is at':42}{'before':>7}{'within':>7}{'after':>7}"]
        for (chapter, act), row in counts.items():
            told = "".join(f"{row.get(column, ''):>7}" for column in ("before", "within", "after"))
            lines.append(f"{chapter:12}{act:42}{told}")
        kills = sum(map(len, self.struck.values()))
        return [*lines, f"{kills} workers killed, {len(self.wrong)} things wrong afterwards"]


def _undoing(chapter: Chapter, places: list[Place]) -> list[Place]:
    """The places from the failure on.

    Before a commit is after the effect, and after it before the next one: every place is struck once, where the product
    is undone, and commits are wherever else the same is removed.
    """
    if not chapter.startswith("its"):
        return []
    failures = [number for number, place in enumerate(places) if any("Failed" in point.act for point in place)]
    assert failures, f"{chapter}: nothing failed"
    return [
        place
        for place in places[failures[0] :]
        if chapter == "its product" or any("effect" not in point.act or point.kind == "site" for point in place)
    ]


Choice = Callable[[Cell], bool]


def at(act: str, moment: str, *, chapter: Chapter = "opens") -> Choice:
    """The cell of one point."""

    def chosen(cell: Cell) -> bool:
        named = any((f"{point.kind} {point.act}", point.moment) == (act, moment) for point in cell.place)
        return named and cell.chapter == chapter

    return chosen
