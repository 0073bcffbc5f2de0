"""Does `tenantry orphans` list what belongs to nobody, and does its removal take exactly that and nothing else?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from adapters.resources.database import Databases
from application.ports.resources import Resource
from application.resources import Resources
from domain.drift import Thing
from domain.operator import Operator
from domain.operator_events import OrphansMarkedForRemoval, OrphansRemoved
from domain.scope.state import StepStarted
from domain.scope.steps import Scope
from runtime.compose.resources import clearing_of
from tests.cli.cloud import Cloud

CONTROL = "the control database"


class Litter:
    """Things of nobody, of every kind, on `eu-1` and in the control database."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.tenant_id = cloud.tenant()
        self.alive = cloud.database(self.tenant_id)
        self.schema = self.alive.schema_name.rpartition("_g")[0] + "_g999"
        self.group, self.login = f"g{self.schema[1:]}", f"r_{'a' * 20}_g999"
        cloud.on("eu-1", "CREATE SCHEMA {}", self.schema)
        cloud.on("eu-1", "CREATE TABLE {}.{} ()", self.schema, "left_behind")
        for role in (self.group, self.login):
            cloud.on("eu-1", "CREATE ROLE {}", role)
        cloud.on("eu-1", "GRANT {} TO {}", self.group, self.login)
        cloud.on("eu-1", "GRANT USAGE ON SCHEMA {} TO {}", self.schema, self.group)
        cloud.on(
            "eu-1",
            "INSERT INTO {}.{} (subject, edition, users, active, features, generation)"
            " VALUES ('compass', 'free', 1, true, ARRAY[]::text[], 1)",
            self.alive.schema_name,
            "entitlement_jira_software",
        )
        cloud.control("INSERT INTO site_names (site_name, tenant_id, generation) VALUES ('lost', 't-x', 1)")
        cloud.control(
            "INSERT INTO placements_reserved (scope, shard, generation) VALUES ('family:t-x:jira', 'eu-1', 1)"
        )
        cloud.control("UPDATE shards SET used = used + 1 WHERE name = 'eu-1'")
        self.things = {
            ("eu-1", "schema", self.schema),
            ("eu-1", "role", self.group),
            ("eu-1", "role", self.login),
            ("eu-1", "entitlement", f"compass in {self.alive.schema_name}"),
            (CONTROL, "site name", "lost of t-x"),
            (CONTROL, "room", "family:t-x:jira"),
        }

    def listed(self) -> set[tuple[str, str, str]]:
        return {(thing["where"], thing["kind"], thing["name"]) for thing in self.told()["orphans"]}

    def told(self, code: int = 1) -> Any:
        return json.loads(self.cloud.says("orphans", "--json", code=code))

    def remove(self, plan: str, code: int = 0) -> Any:
        return json.loads(self.cloud.says("orphans", "remove", plan, "--reason", "litter", "--json", code=code))

    def facts(self, plan: str) -> list[Any]:
        return [fact.event for fact in self.cloud.parts.log.load({f"orphans:{plan}": 0}).get(f"orphans:{plan}", [])]


@pytest.fixture
def litter(cloud: Cloud) -> Litter:
    return Litter(cloud)


def test_what_belongs_to_no_scope_is_listed_and_nothing_else_is(litter: Litter) -> None:
    litter.cloud.on("eu-1", "CREATE ROLE {}", f"r_{'b' * 20}_g1")
    try:
        assert litter.listed() == litter.things, "a role that no family of this shard has is somebody else's"
    finally:
        litter.cloud.on("eu-1", "DROP ROLE {}", f"r_{'b' * 20}_g1")
    assert f"eu-1: schema {litter.schema} belongs to no scope" in litter.cloud.says("orphans", code=1)


def test_a_plan_takes_all_that_it_shows_and_leaves_what_lives_and_says_who_and_why(litter: Litter) -> None:
    plan = litter.told()["plan"]
    before = litter.cloud.snapshot(litter.tenant_id)
    litter.cloud.control("INSERT INTO blocked (obstacle, scope) VALUES ('site-name:lost', 'site:t-waits')")
    removed = litter.remove(plan)
    assert {tuple(thing.values()) for thing in removed["removed"]} == litter.things
    assert (removed["outcome"], removed["left"], removed["skipped"]) == ("removed", [], [])
    assert litter.told(code=0)["orphans"] == []
    assert litter.cloud.control("SELECT used FROM shards WHERE name = 'eu-1'") == [(1,)]
    assert litter.cloud.control("SELECT scope FROM wakes WHERE scope = 'site:t-waits'"), "who waits for it is woken"
    assert litter.cloud.snapshot(litter.tenant_id) == before
    litter.cloud.finds_nothing()
    marked_for_removal, gone = litter.facts(plan)
    assert isinstance(marked_for_removal, OrphansMarkedForRemoval)
    assert isinstance(gone, OrphansRemoved)
    assert (marked_for_removal.reason, marked_for_removal.operator) == ("litter", removed["by"])
    assert {(thing.where, thing.kind, thing.name) for thing in marked_for_removal.things} == litter.things

    assert litter.remove(plan)["outcome"] == "nothing left"
    assert len(litter.facts(plan)) == 2
    assert "was carried out already" in litter.cloud.says("orphans", "remove", plan, "--reason", "again")


def test_a_plan_that_has_changed_is_refused_and_says_what_differs(litter: Litter) -> None:
    plan = litter.told()["plan"]
    litter.cloud.control("DELETE FROM site_names WHERE site_name = 'lost'")
    other = litter.schema.replace("_g999", "_g998")
    litter.cloud.on("eu-1", "CREATE SCHEMA {}", other)
    said = litter.cloud.refuses("orphans", "remove", plan, "--reason", "litter")
    assert f"what is there is not plan {plan} any more" in said
    assert f"no longer there, or no orphan: {CONTROL}: site name lost of t-x" in said
    assert f"new: eu-1: schema {other}" in said
    assert "the reason is empty" in litter.cloud.refuses("orphans", "remove", plan, "--reason", " ")
    assert "no plan feed was shown" in litter.cloud.refuses("orphans", "remove", "feed", "--reason", "litter")
    assert litter.facts(plan) == []
    assert ("eu-1", "schema", litter.schema) in litter.listed()


def test_a_removal_that_was_killed_in_the_middle_goes_on_under_its_hash_and_takes_no_more(
    litter: Litter, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = litter.told()["plan"]
    resource_of, count = Resources.of, 0

    def dies(self: Resources, thing: Thing) -> Resource:
        nonlocal count
        count += len(litter.facts(plan))  # from its intent on
        if count > 3:
            raise KeyboardInterrupt
        return resource_of(self, thing)

    with monkeypatch.context() as patched:
        patched.setattr(Resources, "of", dies)
        litter.cloud.says("orphans", "remove", plan, "--reason", "litter", code=130)
    assert [type(fact) for fact in litter.facts(plan)] == [OrphansMarkedForRemoval]
    assert 0 < len(litter.listed()) < len(litter.things)
    litter.cloud.control("INSERT INTO site_names (site_name, tenant_id, generation) VALUES ('later', 't-y', 1)")
    removed = litter.remove(plan)
    assert {tuple(thing.values()) for thing in removed["removed"]} == litter.things
    assert litter.listed() == {(CONTROL, "site name", "later of t-y")}


def test_what_an_intent_names_meanwhile_is_spared_even_under_the_lock(
    litter: Litter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intent is committed after the streams were read, and before the lock: it is found under the lock."""
    plan = litter.told()["plan"]
    discard = Databases.discard

    def late(self: Databases, thing: Thing, *, is_claimed: Callable[[], bool]) -> Sequence[str] | None:
        claim(litter, generation=999)
        return discard(self, thing, is_claimed=is_claimed)

    monkeypatch.setattr(Databases, "discard", late)
    removed = litter.remove(plan)
    skipped = {(thing["kind"], thing["name"]) for thing in removed["skipped"]}
    assert skipped == {("schema", litter.schema), ("role", litter.group)}
    assert litter.cloud.on("eu-1", f"SELECT 1 FROM pg_namespace WHERE nspname = '{litter.schema}'")


def claim(litter: Litter, *, generation: int) -> None:
    """An intent of another life of the family, which names the litter."""
    log, scope = litter.cloud.parts.log, Scope("family", litter.tenant_id, "jira")
    facts = log.load({str(scope): 0})[str(scope)]
    started = next(fact for fact in facts if isinstance(fact.event, StepStarted) and fact.event.step == 6)
    with psycopg.connect(litter.cloud.parts.endpoints.database_url) as connection:
        # As if the stream had grown that long since its database was removed: names follow from the generation alone.
        connection.execute(
            "DELETE FROM stored_events WHERE originator_id = %s AND originator_version >= %s",
            [str(scope), started.version],
        )
        connection.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (%s, %s, %s, %s)",
            [str(scope), generation, *_stored(litter, started, generation)],
        )


def _stored(litter: Litter, started: Any, generation: int) -> tuple[str, bytes]:
    event = msgspec.structs.replace(started.event, generation=generation)
    stored = litter.cloud.parts.log.mapper.to_stored_event(
        msgspec.structs.replace(started, version=generation, event=event)
    )
    return stored.topic, stored.state


@pytest.mark.saga
def test_what_cannot_go_yet_is_left_and_goes_when_its_plan_is_named_again(
    litter: Litter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "policy.toml").write_text(default_policy_text().replace("PT30S", "PT0.6S"))
    monkeypatch.setenv("TENANTRY_POLICY_FILE", str(tmp_path / "policy.toml"))
    alive = litter.alive.schema_name
    litter.cloud.on("eu-1", "CREATE TABLE {}.{} ()", alive, "issues")
    litter.cloud.on("eu-1", "ALTER TABLE {}.{} OWNER TO {}", alive, "issues", litter.login)
    plan = litter.told()["plan"]
    with psycopg.connect(litter.cloud.shards["eu-1"]) as connection:
        connection.execute("UPDATE tenantry.fences SET generation = generation")  # an effect that has passed its fence
        left = litter.remove(plan, code=1)
    assert {thing["where"] for thing in left["removed"]} == {CONTROL}
    assert {(thing["where"], thing["why"]) for thing in left["left"]} == {
        ("eu-1", "shard eu-1: canceling statement due to lock timeout")
    }
    [left] = litter.remove(plan, code=1)["left"]
    said = f"role {litter.login} owns 1 objects: see whose they are, then REASSIGN OWNED BY it"
    assert (left["name"], left["why"]) == (litter.login, said)
    litter.cloud.on("eu-1", "DROP TABLE {}.{}", alive, "issues")
    assert litter.remove(plan)["outcome"] == "removed"
    assert litter.told(code=0)["orphans"] == []


def default_policy_text() -> str:
    return files("domain").joinpath("policy.toml").read_text()


@pytest.mark.saga
def test_what_a_silent_shard_holds_is_neither_absent_nor_removed(
    litter: Litter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = litter.told()["plan"]
    settings = tmp_path / "tenantry.toml"
    there = settings.read_text()
    settings.write_text(there.replace(litter.cloud.shards["eu-1"], "postgresql://nobody@127.0.0.1:1/none"))
    said = litter.cloud.refuses("orphans", "remove", plan, "--reason", "litter")
    assert "not looked at: eu-1" in said
    told = litter.told()
    assert list(told["not_looked_at"]) == ["eu-1"]
    assert {thing["where"] for thing in told["orphans"]} == {CONTROL}
    clearing = clearing_of(litter.cloud.parts)  # the shard was lost after somebody had condemned them
    marked = clearing._marked(clearing._story(plan), clearing.plan(), plan, reason="litter", by=Operator.parse("test"))  # noqa: SLF001
    clearing.log.record(marked)
    left = litter.remove(plan, code=1)["left"]
    assert {thing["where"] for thing in left} == {"eu-1"}
    settings.write_text(there)
    assert litter.remove(plan)["outcome"] == "removed"


def test_where_much_belongs_to_nobody_nothing_is_removed(litter: Litter) -> None:
    for number in range(4):
        litter.cloud.on("eu-1", "CREATE SCHEMA {}", f"{litter.schema}{number}")
    told = litter.told()
    assert told["suspicious"] == ["eu-1: 5 of 6 databases, schemas or site names belong to no scope"]
    said = litter.cloud.refuses("orphans", "remove", told["plan"], "--reason", "litter")
    assert "it looks like the wrong log or the wrong server" in said


@pytest.mark.saga
def test_a_database_of_nobody_goes_with_all_that_is_in_it(litter: Litter) -> None:
    name = litter.schema
    litter.cloud.on("eu-1", "DROP SCHEMA {} CASCADE", name)
    litter.cloud.on("eu-1", "CREATE DATABASE {}", name)
    assert ("eu-1", "database", name) in litter.listed()
    litter.remove(litter.told()["plan"])
    assert not litter.cloud.on("eu-1", f"SELECT 1 FROM pg_database WHERE datname = '{name}'")
