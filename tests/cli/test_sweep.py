"""Does the background sweep find what drifted, one process at a time, and does it stop where too much is missing?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.outage import Outage
from application.drift_sweep import STAND_BY, DriftSweep
from domain.scope.state import StepMissing
from domain.scope.steps import Scope
from runtime.compose.resources import sweeping_of
from tests.cli.cloud import Cloud
from workers.sweeper import sweeping

AT_ONCE = timedelta(0)


@contextmanager
def sweeper(cloud: Cloud) -> Iterator[DriftSweep]:
    with sweeping_of(cloud.parts) as made:
        yield replace(made, interval=AT_ONCE, pause=AT_ONCE)


def its_turn(made: DriftSweep) -> None:
    """The server takes a moment to notice that the one who held the ledger before has gone."""
    while not made.ledger.hold():
        time.sleep(0.01)


def a_pass(made: DriftSweep) -> None:
    """From its first page until it is through, or has stopped itself."""
    while made.step() != STAND_BY:
        if made.ledger.read().started_at is None:
            return


def told(cloud: Cloud) -> Any:
    return json.loads(cloud.says("status", "--json"))["sweep"]


def missing(cloud: Cloud, tenant_id: str) -> list[StepMissing]:
    return [fact for fact in cloud.facts(Scope("site", tenant_id)) if isinstance(fact, StepMissing)]


@pytest.mark.endurance
def test_a_pass_hands_over_what_went_missing_and_one_process_at_a_time_sweeps(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("application.drift_sweep.PAGE", 1)
    tenants = [cloud.tenant() for _ in range(3)]
    cloud.control("DELETE FROM site_names WHERE tenant_id = %s", tenants[1])
    assert "the background sweep is due a while after" in cloud.says("status")
    with sweeping_of(cloud.parts) as made:
        assert made.step() == STAND_BY, "the first pass waits for its interval"
        assert told(cloud)["started_at"] is None
    with sweeper(cloud) as made, sweeper(cloud) as other:
        its_turn(made)
        for _ in tenants:
            made.step()
        assert other.step() == STAND_BY
        assert (told(cloud)["tenants"], told(cloud)["handed_over"]) == (3, 1)
        assert "has looked at 3 tenants: 1 scopes handed over to the saga" in cloud.says("status")
    assert [len(missing(cloud, tenant_id)) for tenant_id in tenants] == [0, 1, 0]
    cloud.work()
    with sweeper(cloud) as other:
        its_turn(other)
        other.step()  # takes over, and the pass is through
        assert told(cloud)["started_at"] is None
        cloud.finds_nothing()


@pytest.mark.endurance
def test_a_pass_in_which_too_much_is_missing_stops_itself_until_an_operator_has_looked(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("application.drift_sweep.PAGE", 1)
    tenants = [cloud.tenant() for _ in range(5)]
    for tenant_id in tenants:
        cloud.on("eu-1", "DROP SCHEMA {} CASCADE", cloud.database(tenant_id).schema_name)
    with sweeper(cloud) as made:
        its_turn(made)
        a_pass(made)
        held = [tenant_id for tenant_id in tenants if cloud.snapshot(tenant_id).family("jira").data_missing]
        assert len(held) == 3, "as many as the policy lets go missing, over all pages"
        assert told(cloud)["stopped_at"] is not None
        assert "stopped itself" in (said := cloud.says("status"))
        assert "eu-1: 4 of 4 scopes are missing" in said
        before = told(cloud)
        made.step()
        assert told(cloud) == before, "it does not go on by itself"
    with sweeper(cloud) as another:
        its_turn(another)
        another.step()
        assert told(cloud) == before, "nor in another process"
        cloud.says("reconcile", "--dry-run", code=1)
        assert told(cloud) == before
        assert "continues" in cloud.says("reconcile", code=1), "two more are within what the policy lets go missing"
        assert told(cloud)["stopped_at"] is None


@pytest.mark.saga
def test_it_runs_in_a_thread_of_its_own_and_ends_with_the_worker(cloud: Cloud) -> None:
    tenant_id = cloud.tenant()
    cloud.control("DELETE FROM site_names")

    with sweeper(cloud) as made:
        failures = iter([RuntimeError("something went wrong")])

        @contextmanager
        def make() -> Iterator[DriftSweep]:
            for failure in failures:
                raise failure
            yield made

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("workers.sweeper.AGAIN", AT_ONCE)
            with sweeping(make, outage=Outage("the sweep")):
                deadline = time.monotonic() + 10
                while not missing(cloud, tenant_id) and time.monotonic() < deadline:
                    time.sleep(0.05)
    assert missing(cloud, tenant_id)
