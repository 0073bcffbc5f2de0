"""How long, how often?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.errors import UsageError
from domain.policy import Policy, default_policy


def seconds(attempt: int, chance: float = 0.0) -> float:
    return default_policy().retry.delay(attempt, chance).total_seconds()


def test_the_default_policy_keeps_data_for_60_days_and_restores_for_14() -> None:
    policy = default_policy()
    assert (policy.retention, policy.restore_window) == (timedelta(days=60), timedelta(days=14))


def test_the_pause_between_attempts_doubles_up_to_the_longest() -> None:
    assert [seconds(attempt) for attempt in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert seconds(20) == seconds(5000) == 300


def test_chance_shortens_the_pause_by_the_jitter_at_most() -> None:
    assert 0.8 <= seconds(1, 0.999) < 1
    assert 240 <= seconds(5000, 0.999) < 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retention = ", "not TOML"),
        ('retention = "P60D"', "restore_window"),
        ('retention = "for ever"', "retention"),
    ],
)
def test_a_policy_that_is_wrong_says_where(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"policy my\.toml: ") as error:
        Policy.parse(text, source="my.toml")
    assert said in str(error.value)
