"""How long, how often?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from application.problem_texts import sentence
from domain.errors import UsageError
from domain.policy import Policy, default_policy
from tests.refusals import refused


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
    with refused(UsageError, match=r"policy my\.toml: ") as error:
        Policy.parse(text, source="my.toml")
    assert said in sentence(error.value)


def test_a_policy_that_says_nothing_of_reserved_site_names_has_those_of_the_package() -> None:
    text = (
        'retention = "P60D"\nrestore_window = "P14D"\nwaiting_limit = 5\n[retry]\nattempts = 1\nfirst_delay = "PT1S"\n'
    )
    text += 'factor = 2.0\nlongest_delay = "PT5M"\njitter = 0.2\nobstacle_poll = "PT1M"\nstep_timeout = "PT30S"\n'
    assert Policy.parse(text, source="p").reserved_site_names == default_policy().reserved_site_names
    assert Policy.parse(f"reserved_site_names = []\n{text}", source="p").reserved_site_names == ()
    twice = Policy.parse(f'reserved_site_names = ["www", "api", "www"]\n{text}', source="p")
    assert twice.reserved_site_names == ("api", "www")
    with refused(UsageError, match="reserved_site_names"):
        Policy.parse(f'reserved_site_names = ["WWW"]\n{text}', source="p")
