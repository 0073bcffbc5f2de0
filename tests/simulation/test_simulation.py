"""Does every story end well, whatever befalls its actors, and would we notice if one did not?

One seed is one story: `pytest tests/simulation --seed 1234` tells it again, with all of its steps if it fails.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import structlog

from tests.simulation.checks import check_end
from tests.simulation.planted import FAULTS
from tests.simulation.story import STEPS, Story

pytestmark = pytest.mark.saga

LAST_SEED = 2000


@pytest.fixture(autouse=True)
def in_silence() -> Iterator[None]:
    """What workers log is in the transcript; the collector waits until some stories are told."""
    before = structlog.get_config()
    structlog.configure(processors=[_is_dropped])
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()
    structlog.configure(**before)


def _is_dropped(logger: Any, method: str, entry: Any) -> Any:
    assert "cannot decide" not in entry["event"], f"{entry['scope']}: {entry['error']}"
    raise structlog.DropEvent


def tell(seed: int) -> Story:
    """The story of a seed, whole; what goes wrong in it is raised with its transcript."""
    story = Story(seed)
    try:
        story.tell()
        check_end(story)
    except Exception as error:
        error.add_note(f"{story.transcript}\n\nseed {seed}: `pytest tests/simulation --seed {seed}` tells it again")
        raise
    return story


def test_every_story_ends_with_the_world_as_commerce_wants_it(seeds: range) -> None:
    steps = [tell(seed).number for seed in seeds]
    told = f"seeds {seeds.start} to {seeds.stop - 1}: {len(steps)} stories, {sum(steps)} steps, {min(steps)} at least"
    print(told)  # noqa: T201 - shown by `pytest -rP`
    assert min(steps) >= STEPS


def test_a_seed_tells_the_same_story_each_time() -> None:
    assert tell(7).transcript == tell(7).transcript
    assert tell(7).transcript != tell(8).transcript


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_caught(fault: Callable[[], AbstractContextManager[Any]]) -> None:
    with fault():
        caught = next((seed for seed in range(LAST_SEED) if goes_wrong(seed)), None)
    assert caught is not None, f"not caught within {LAST_SEED} seeds"
    print(f"caught by seed {caught}")  # noqa: T201 - shown by `pytest -rP`


def goes_wrong(seed: int) -> bool:
    try:
        tell(seed)
    except Exception:  # noqa: BLE001 - whatever it is
        return True
    return False
