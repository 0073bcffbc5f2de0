"""Does the matrix hold for a few short outages, and does it find an intake that loses batches?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.outages.cells import BY_NAME
from tests.outages.conftest import Installations
from tests.outages.installation import Installation
from tests.outages.matrix import LOST, run

pytestmark = [pytest.mark.outages, pytest.mark.timeout(120)]

CELLS = {"agent asleep with its lock": 5.0, "database refuses": 2.0, "database read-only": 2.0, "shard refuses": 2.0}


@pytest.mark.parametrize("name", CELLS)
def test_a_short_outage_loses_nothing_blocks_nothing_and_kills_nobody(
    name: str, record_property: Callable[[str, object], None], installations: Installations
) -> None:
    verdict = installations.judge(BY_NAME[name], CELLS[name])
    record_property("outage", verdict.row())
    assert not verdict.faults


def test_an_intake_that_goes_on_after_a_batch_that_failed_is_noticed(
    record_property: Callable[[str, object], None],
) -> None:
    with Installation(module="tests.outages.planted") as installation:
        verdict = run(installation, BY_NAME["database resets"], 8)
    record_property("outage", verdict.row())
    assert any(LOST in fault for fault in verdict.faults)
