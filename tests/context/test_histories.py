"""What was promised of freshness, held against histories of real processes; and each mutant is caught by them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.context.campaign import SCENARIOS, Campaign, chaos
from tests.context.history import Change, History, Look, in_force_violations

T = 3_000_000_000
SECOND = 1_000_000_000


def history() -> History:
    """Open at 1 (position 1), closed at 10 s (position 5), gone at 20 s (position 9)."""
    found = History(T)
    found.add(Change("t", 1, "open", SECOND - 1, SECOND))
    found.add(Change("t", 5, "closed", 10 * SECOND - 1, 10 * SECOND))
    found.add(Change("t", 9, "unknown", 20 * SECOND - 1, 20 * SECOND))
    return found


def look(answer: str, version: int, at: float, *, token: int = 0, client: int = 0) -> Look:
    began = int(at * SECOND)
    return Look(client, "t", answer, version, token, began, began + 1000, 1)


@pytest.mark.parametrize(
    ("looks", "rules"),
    [
        ([look("open", 1, 5)], []),
        ([look("open", 1, 12.9)], []),
        ([look("open", 1, 13.1)], ["late"]),
        ([look("open", 1, 11, token=5)], ["below"]),
        ([look("closed", 5, 11), look("open", 1, 12)], ["back"]),
        ([look("closed", 5, 11), look("open", 1, 12, client=1)], []),
        ([look("open", 5, 11)], ["wrong"]),
        ([look("open", 4, 11)], ["wrong"]),
        ([look("unknown", 0, 5)], ["unknown"]),
        ([look("unknown", 0, 0.5)], []),
        ([look("unknown", 0, 21)], []),
        ([look("unknown", 0, 19)], ["unknown"]),
        ([look("refused", 0, 5)], []),
    ],
)
def test_the_checker_finds_what_was_not_held_and_nothing_else(looks: list[Look], rules: list[str]) -> None:
    assert [each.rule for each in history().violations(looks)] == rules


def test_an_in_force_that_was_recorded_too_early_is_found() -> None:
    looks = [look("open", 1, 12)]
    assert not in_force_violations(history(), looks, {5: 13 * SECOND})
    assert [each.rule for each in in_force_violations(history(), looks, {5: 11 * SECOND})] == ["in force"]
    assert not in_force_violations(history(), looks, {4: 11 * SECOND})


@pytest.mark.context_long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", SCENARIOS)
def test_each_mutant_is_caught_and_the_real_one_is_not(tmp_path: Path, mutant: str) -> None:
    found = {}
    for planted in (mutant, ""):
        with Campaign(tmp_path / ("m" if planted else "r"), term=3.0, mutant=planted) as campaign:
            SCENARIOS[mutant](campaign)
        violations, judged = campaign.judge()
        found[planted] = Counter(each.rule for each in violations)
        assert judged > 1_000
        if not planted:
            assert not violations, violations[:3]
    assert found[mutant], f"{mutant} was not caught"
    print(mutant, dict(found[mutant]))  # noqa: T201 - shown by -s


@pytest.mark.context_long
@pytest.mark.timeout(1500)
def test_kills_stops_and_faults_at_random_break_no_promise(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seconds, seed = pytestconfig.getoption("--context-seconds"), pytestconfig.getoption("--context-seed")
    with Campaign(tmp_path, term=3.0, sidecars=3, clients=3) as campaign:
        done = chaos(campaign, seconds=seconds, seed=seed)
    violations, judged = campaign.judge()
    print(f"{judged} look-ups judged in {seconds:g} s, seed {seed}: {done}")  # noqa: T201 - shown by -s
    assert not violations, violations[:5]
    assert judged > 1_000 * seconds
