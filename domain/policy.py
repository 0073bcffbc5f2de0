"""Policy: the times and bounds of the life cycle.

Policies are data (policy.toml). Durations are ISO 8601.
"""

from __future__ import annotations

import tomllib
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import Annotated, Self

from pydantic import AfterValidator, Field

from domain import names
from domain.configuration_part import ConfigurationPart, reading


class Retry(ConfigurationPart):
    """How an intent that fails is tried again."""

    attempts: int = Field(ge=1, le=1000)
    first_delay: timedelta
    factor: float = Field(ge=1, le=10)
    longest_delay: timedelta
    jitter: float = Field(ge=0, le=1)
    obstacle_poll: timedelta
    step_timeout: timedelta
    unreachable_for: timedelta = Field(default=timedelta(hours=24), ge=timedelta())

    def delay(self, attempt: int, chance: float) -> timedelta:
        """The pause after failure number `attempt` (from 1); `chance` in [0, 1) is the caller's dice."""
        try:
            grown = self.first_delay * self.factor ** (attempt - 1)
        except OverflowError:
            grown = self.longest_delay
        return min(grown, self.longest_delay) * (1 - self.jitter * chance)

    def pause(self, away_for: timedelta, chance: float) -> timedelta:
        """The pause before the next look at what has been unreachable for so long: as long again, within the bounds."""
        grown = max(self.first_delay, away_for)
        return min(grown, self.longest_delay) * (1 - self.jitter * chance)


class Drift(ConfigurationPart):
    """How much may be missing on one shard before it is taken for a wrong or an empty one."""

    absences: int = Field(default=3, ge=0)
    share: float = Field(default=0.05, ge=0, le=1)

    def is_too_much(self, absent: int, looked_at: int) -> bool:
        """More than the larger of a number and a share of what was looked at."""
        return absent > max(self.absences, self.share * looked_at)


class Guard(ConfigurationPart):
    """A budget of the destroy guard: how much may pass in a time without an operator. The larger of `at_least` and a
    `share` of what lives counts."""

    at_least: int = Field(default=5, ge=0, le=1_000_000)
    share: float = Field(default=0.01, ge=0, le=1)
    window: timedelta = timedelta(minutes=10)

    def limit(self, live: int) -> int:
        """The budget of destructive changes in one window, for so many tenants or products."""
        return max(self.at_least, int(self.share * live))


def _reserved_by_default() -> tuple[str, ...]:
    return default_policy().reserved_site_names


def _in_order(listed: tuple[str, ...]) -> tuple[str, ...]:
    """Sorted, each once: the same names make the same policy, however a file lists them."""
    return tuple(sorted(set(listed)))


class Policy(ConfigurationPart):
    """The whole file."""

    retention: timedelta
    restore_window: timedelta
    site_name_cool_down: timedelta = timedelta(days=30)
    waiting_limit: int = Field(ge=0, le=1_000_000)
    reserved_site_names: Annotated[tuple[names.SiteName, ...], AfterValidator(_in_order)] = Field(
        default_factory=_reserved_by_default
    )
    """Names that no site gets; where a file says nothing of them, those of the package."""
    faults_a_minute: int = Field(default=5, ge=0, le=1_000_000)
    retry: Retry
    drift: Drift = Drift()
    guard: Guard = Guard()
    """Of destroys, deactivations and purges; the share is of the live tenants."""
    closing_guard: Guard = Guard(at_least=50, share=0.05)
    """Of changes that close a product; the share is of the live products."""

    @classmethod
    def parse(cls, text: str, *, source: str) -> Self:
        """The policy in TOML `text`; UsageError names `source` and the first thing that is wrong."""
        with reading("policy", source):
            return cls.model_validate(tomllib.loads(text))


@cache
def default_policy() -> Policy:
    """The policy in the package."""
    return Policy.parse(files("domain").joinpath("policy.toml").read_text(), source="policy.toml of the package")
