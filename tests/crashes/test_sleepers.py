"""Can a worker that was stopped, and wakes up when its lease is over and all has changed, do any harm?

SIGSTOP hits it in the middle of an effect. Its lease runs out, another worker takes the scope over, commerce says
something else, and that converges. Then SIGCONT lets the sleeper go on where it was: what it still has to do must be
refused, and its successor's things must be as they were.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from domain.scope.state import StepCompleted
from domain.scope.steps import Level
from tests.crashes.cloud import JIRA, PATIENCE, Cloud, a_cloud, passed
from tests.crashes.points import Point
from tests.crashes.worker import Strike
from tests.domain.given import POLICY

pytestmark = [pytest.mark.saga, pytest.mark.slow]

TENANT = "t-1"


@dataclass
class Sleeper:
    """A worker that was stopped where it stands."""

    process: ForkServerProcess
    diary: Path

    def wakes_up(self) -> list[str]:
        """It goes on until nothing is due; what its effects came to."""
        pid = self.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGCONT)
        self.process.join(PATIENCE)
        assert self.process.exitcode == 0
        return [entry["error"] for entry in passed(self.diary, TENANT) if "error" in entry]


@contextmanager
def asleep(cloud: Cloud, point: Point, diary: Path) -> Iterator[Sleeper]:
    """A worker that was stopped at that point."""
    process = cloud.begins(strike=Strike(TENANT, frozenset([point]), signal.SIGSTOP), diary=diary)
    assert process.pid is not None
    try:
        deadline = time.monotonic() + PATIENCE
        while _state(process.pid) != "T":
            assert process.is_alive(), f"the worker ended and never came to {point}"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield Sleeper(process, diary)
    finally:
        process.kill()
        process.join(PATIENCE)


def _state(pid: int) -> str:
    """`T` for a process that is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def _opened(cloud: Cloud, region: str) -> None:
    cloud.creates(TENANT, region=region)
    cloud.settles()
    cloud.writes(TENANT, "of the first life")


def _sleeps_while_it_drops(cloud: Cloud, point: Point, region: str, diary: Path) -> list[str]:
    """Retention is over; a worker that removes the database sleeps, and the product is activated anew meanwhile."""
    _opened(cloud, region)
    cloud.wave += 1
    cloud.says("product.deactivated", TENANT, product=JIRA, reason="over")
    cloud.settles()
    cloud.passes(POLICY.retention + timedelta(days=1))
    with asleep(cloud, point, diary) as sleeper:
        cloud.wave += 1
        cloud.says("product.activated", TENANT, product=JIRA, edition="free", users=7)
        _until_it_is(cloud, "open")
        assert cloud.snapshot(TENANT).tenant.product(JIRA).data_lost
        cloud.writes(TENANT, "of the second life")
        said = sleeper.wakes_up()
    cloud.settles()
    assert cloud.reads(TENANT) == ["of the second life"]
    return said


def _until_it_is(cloud: Cloud, level: Level) -> None:
    """Others go on, however long the server takes to part with the sleeper's sessions."""
    deadline = time.monotonic() + PATIENCE
    while cloud.snapshot(TENANT).product(JIRA).level != level or not cloud.snapshot(TENANT).product(JIRA).at_rest:
        assert time.monotonic() < deadline, cloud.snapshot(TENANT).scopes
        assert cloud.lives() == 0
        cloud.passes(timedelta(minutes=1))


@pytest.fixture
def quick(server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Cloud]:
    """A cloud whose steps have four seconds: then the server parts with the sessions of a sleeper."""
    policy = tmp_path / "policy.toml"
    policy.write_text(files("domain").joinpath("policy.toml").read_text().replace('"PT30S"', '"PT4S"'))
    with a_cloud(server, policy_file=policy) as made:
        yield made


@pytest.mark.parametrize(
    ("region", "moment"),
    [
        ("eu", "before"),
        ("eu", "INSERT INTO #2"),
        ("eu", "DROP SCHEMA IF EXISTS"),
        ("us", "before"),
        ("us", "DROP DATABASE IF EXISTS"),
    ],
    ids=lambda each: {"eu": "of a schema", "us": "of a database", "INSERT INTO #2": "before the fence"}.get(each, each),
)
def test_the_drop_of_a_worker_that_slept_is_refused(quick: Cloud, tmp_path: Path, region: str, moment: str) -> None:
    said = _sleeps_while_it_drops(quick, Point("family", "6 remove effect", moment), region, tmp_path / "diary")
    assert said[-1], "it was carried out"
    assert not quick.disagreements()


LOGIN = Point("family", "6 ensure effect", "before")
ENTITLEMENT = Point("product", "7 ensure effect", "before")


@pytest.mark.parametrize("point", [LOGIN, ENTITLEMENT], ids=["by its login", "by its entitlement"])
def test_a_worker_that_slept_does_not_lock_out_who_was_let_in_again(cloud: Cloud, tmp_path: Path, point: Point) -> None:
    said = _sleeps_while_it_closes(cloud, point, tmp_path / "diary")
    assert said[-1].startswith("Fenced")
    assert not cloud.disagreements()


def _sleeps_while_it_closes(cloud: Cloud, point: Point, diary: Path) -> list[str]:
    """A worker that takes from a suspended product what it comes in by sleeps; another gives it back."""
    _opened(cloud, "eu")
    cloud.wave += 1
    cloud.says("product.suspended", TENANT, product=JIRA, reason="unpaid")
    with asleep(cloud, point, diary) as sleeper:
        cloud.wave += 1
        cloud.says("product.unsuspended", TENANT, product=JIRA)
        cloud.settles()
        said = sleeper.wakes_up()
    cloud.settles()
    return said


def test_a_sleeper_that_no_fence_stops_is_noticed(cloud: Cloud, tmp_path: Path) -> None:
    cloud.fault = "a fence that lets everybody pass"
    said = _sleeps_while_it_closes(cloud, LOGIN, tmp_path / "diary")
    found = cloud.disagreements()
    print(*found, sep="\n")  # noqa: T201 - shown by `pytest -rP`
    assert not said[-1]
    assert any("may not log in" in str(each) for each in found)


def test_a_worker_that_slept_before_its_commit_records_nothing_any_more(cloud: Cloud, tmp_path: Path) -> None:
    assert _recorded_after_sleep(cloud, tmp_path / "diary") == []
    assert not cloud.disagreements()


def test_a_worker_that_slept_before_its_first_intent_does_not_begin_what_nobody_wants(
    cloud: Cloud, tmp_path: Path
) -> None:
    assert _begun_after_sleep(cloud, tmp_path / "diary") == []
    assert cloud.snapshot(TENANT).family("jira").version == 0


def test_a_sleeper_that_ignores_that_its_lease_is_gone_is_noticed(cloud: Cloud, tmp_path: Path) -> None:
    """What it records is noticed at once; what it did is refused all the same, for its version is taken."""
    cloud.fault = "a lease that is ignored"
    found = _recorded_after_sleep(cloud, tmp_path / "diary")
    print(*found, sep="\n")  # noqa: T201 - shown by `pytest -rP`
    assert found[0] == "product rests, after"
    assert not [place for place in found if "outcome" in place or "intent" in place]
    assert not cloud.disagreements()


def _recorded_after_sleep(cloud: Cloud, diary: Path) -> list[str]:
    """A worker sleeps before it records what its last effect came to; others do that. What it commits when it wakes."""
    cloud.creates(TENANT)
    with asleep(cloud, Point("product", "7 ensure outcome", "before"), diary) as sleeper:
        cloud.settles()
        assert cloud.snapshot(TENANT).product(JIRA).level == "open"
        before = len(passed(diary, TENANT))
        sleeper.wakes_up()
    told = [entry["place"] for entry in passed(diary, TENANT)[before:] if "place" in entry]
    assert all(count == 1 for count in _completions(cloud).values()), "a generation was completed twice"
    return [str(Point(*point)) for place in told for point in place if point[2] == "after"]


def _begun_after_sleep(cloud: Cloud, diary: Path) -> list[str]:
    """A worker sleeps before its first intent for a family; the product goes meanwhile. What it commits then."""
    cloud.creates(TENANT)
    with asleep(cloud, Point("family", "3 ensure intent", "before"), diary) as sleeper:
        cloud.says("product.deactivated", TENANT, product=JIRA, reason="over")
        cloud.settles()
        before = len(passed(diary, TENANT))
        sleeper.wakes_up()
    told = [entry["place"] for entry in passed(diary, TENANT)[before:] if "place" in entry]
    return [str(Point(*point)) for place in told for point in place if point[2] == "after"]


def _completions(cloud: Cloud) -> Counter[tuple[str, int]]:
    """How often each generation was completed."""
    cloud.parts.log.advance_mark()
    facts = cloud.parts.log.read(0, 100_000)
    return Counter((fact.stream, fact.event.generation) for fact in facts if isinstance(fact.event, StepCompleted))
