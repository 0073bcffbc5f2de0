"""Is everything as it should be after a worker was killed, wherever that was, and would we notice if it were not?"""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.scope.steps import SCOPE_STEPS
from tests.crashes.cloud import REGIONS, Cloud
from tests.crashes.matrix import UNDOING, Cell, Choice, Matrix, at
from tests.crashes.points import Point

pytestmark = [pytest.mark.saga, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("region", REGIONS, ids=["schemas", "databases of their own"])
def test_a_worker_killed_at_any_point_leaves_nothing_that_the_next_one_does_not_put_right(
    cloud: Cloud, region: str, tmp_path: Path
) -> None:
    matrix = Matrix(cloud, region, tmp_path)
    cells = matrix.cells() if region == "eu" else [cell for cell in matrix.cells() if _at_a_database(cell)]
    assert region == "us" or not _demanded() - {point for cell in cells for point in cell.place}, (
        "points that no worker passes"
    )
    matrix.kills(cells)
    print("\n".join(matrix.table()))  # noqa: T201 - shown by `pytest -rP`
    assert {cell for struck in matrix.struck.values() for cell in struck} == set(cells)
    assert not matrix.wrong, "\n".join(matrix.wrong)


def test_a_worker_killed_while_what_never_lived_is_undone_leaves_nothing_of_it(cloud: Cloud, tmp_path: Path) -> None:
    matrix = Matrix(cloud, "eu", tmp_path, UNDOING)
    cells = matrix.cells()
    removals = {point for point in _demanded() if " remove " in point.act}
    assert not removals - {point for cell in cells for point in cell.place}, "points that no worker passes"
    matrix.kills(cells)
    print("\n".join(matrix.table()))  # noqa: T201 - shown by `pytest -rP`
    assert {cell for struck in matrix.struck.values() for cell in struck} == set(cells)
    assert not matrix.wrong, "\n".join(matrix.wrong)


def _at_a_database(cell: Cell) -> bool:
    """Whether it makes a difference there that a family has a database of its own."""
    return any((point.kind, point.act[0]) in (("family", "6"), ("product", "7")) for point in cell.place)


def _demanded() -> set[Point]:
    """Before and after each effect and each commit of an intent and an outcome, for each step and direction."""
    return {
        Point(kind, f"{int(step)} {direction} {what}", moment)
        for kind, steps in SCOPE_STEPS.items()
        for step in steps
        for direction in ("ensure", "remove")
        for what in ("intent", "effect", "outcome")
        for moment in ("before", "after")
    }


@pytest.mark.parametrize(
    ("fault", "choice"),
    [
        ("an effect that is not idempotent", at("family 6 ensure effect", "after")),
        ("a commit before its effect", at("product 7 ensure outcome", "after")),
    ],
)
def test_a_planted_fault_is_found_by_a_kill(cloud: Cloud, tmp_path: Path, fault: str, choice: Choice) -> None:
    matrix = Matrix(cloud, "eu", tmp_path)
    cells = [cell for cell in matrix.cells() if choice(cell)]
    assert len(cells) == 1
    cloud.fault = fault
    matrix.kills(cells)
    found = _about(matrix, cells[0])
    print(*found, sep="\n")  # noqa: T201 - shown by `pytest -rP`
    assert found


def _about(matrix: Matrix, cell: Cell) -> list[str]:
    return [said for said in matrix.wrong if "orphan" in said or str(cell) in said or "'?'" in said]
