"""Whatever goes away, for however long: is every message accounted for, and is everybody back at work by himself?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.outages.cells import CELLS, Cell
from tests.outages.conftest import Installations

pytestmark = [pytest.mark.outages, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [pytest.param(cell, seconds, id=f"{cell.name}, {seconds:g} s") for cell in CELLS for seconds in cell.durations],
)
def test_an_outage_loses_nothing_blocks_nothing_and_kills_nobody(
    cell: Cell, seconds: float, installations: Installations, record_property: Callable[[str, object], None]
) -> None:
    verdict = installations.judge(cell, seconds)
    record_property("outage", verdict.row())
    assert not verdict.faults
