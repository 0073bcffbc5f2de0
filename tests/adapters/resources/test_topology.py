"""Are shards made ready, counted, and told apart?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres import connection as postgres_connection
from adapters.resources.capacity import Regions
from adapters.resources.topology import Patience, Shard, Topology
from domain.errors import Obstacle, Retryable, Unavailable, UsageError
from domain.scope.steps import RegionResult, RegionSpec, Scope, Step
from tests.adapters.provisioners.orders import new_tenant_id, order
from tests.adapters.resources.real_shards import SHARDS, RealWorld, migrate, real_world


@pytest.fixture(scope="module")
def world(postgres: EmbeddedPostgres) -> Iterator[RealWorld]:
    with real_world(postgres) as running:
        yield running


@pytest.fixture
def control(database: str) -> Iterator[psycopg.Connection]:
    """A control database of its own."""
    migrate(database, "upgrade")
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def rows(control: psycopg.Connection) -> dict[str, tuple[str, str, int, int]]:
    found = control.execute("SELECT name, region, state, capacity, used FROM shards").fetchall()
    return {name: (region, state, capacity, used) for name, region, state, capacity, used in found}


def topology(*shards: Shard) -> Topology:
    return Topology(shards, default_region=shards[0].region)


def place(regions: Regions, region: str) -> RegionResult:
    scope = Scope("family", new_tenant_id(), "jira")
    return regions.ensure(order(scope, Step.REGION, RegionSpec(residency="global", region=region)))


def test_the_migration_goes_up_down_and_up(database: str) -> None:
    for direction in ("upgrade", "downgrade", "upgrade"):
        migrate(database, direction)


def test_the_table_of_shards_follows_the_topology(control: psycopg.Connection) -> None:
    first, second = Shard("a-1", "a", "", capacity=5), Shard("a-2", "a", "", capacity=5, state="draining")
    topology(first, second).sync(control)
    topology(first, second).sync(control)
    assert rows(control) == {"a-1": ("a", "open", 5, 0), "a-2": ("a", "draining", 5, 0)}
    control.execute("UPDATE shards SET used = 3")
    topology(replace(first, capacity=9)).sync(control)
    assert rows(control) == {"a-1": ("a", "open", 9, 3), "a-2": ("a", "closed", 5, 3)}


def test_a_shard_with_families_cannot_move_to_another_region(control: psycopg.Connection) -> None:
    shard = Shard("a-1", "a", "")
    topology(shard).sync(control)
    topology(replace(shard, region="b")).sync(control)
    control.execute("UPDATE shards SET used = 1")
    with pytest.raises(UsageError, match="shard a-1 holds families"):
        topology(shard).sync(control)
    assert rows(control)["a-1"][0] == "b"


def test_families_go_where_most_room_is_and_not_to_shards_that_are_not_open(
    control: psycopg.Connection, database: str
) -> None:
    snapshot = topology(
        Shard("a-1", "a", "", capacity=1),
        Shard("a-2", "a", "", capacity=3),
        Shard("a-3", "a", "", capacity=100, state="draining"),
        Shard("b-1", "b", "", capacity=100),
    )
    snapshot.sync(control)
    regions = Regions(lambda: psycopg.connect(database), snapshot)
    assert [place(regions, "a").shard for _ in range(4)] == ["a-2", "a-2", "a-1", "a-2"]
    with pytest.raises(Obstacle, match=r"no room in region a: 4 of 4 used; add a shard or raise its capacity"):
        place(regions, "a")


def test_room_is_never_given_twice(control: psycopg.Connection, database: str) -> None:
    snapshot = topology(Shard("a-1", "a", "", capacity=7), Shard("a-2", "a", "", capacity=6))
    snapshot.sync(control)
    regions = Regions(lambda: psycopg.connect(database), snapshot)
    outcomes: list[str] = []

    def settle() -> None:
        for _ in range(5):
            try:
                outcomes.append(place(regions, "a").shard)
            except Obstacle as obstacle:
                outcomes.append(obstacle.obstacle)

    threads = [threading.Thread(target=settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["a-1"] * 7 + ["a-2"] * 6 + ["room:a"] * 7
    assert {name: row[3] for name, row in rows(control).items()} == {"a-1": 7, "a-2": 6}
    reserved = control.execute("SELECT shard, count(*) FROM placements_reserved GROUP BY 1").fetchall()
    assert dict(reserved) == {"a-1": 7, "a-2": 6}


def test_a_control_database_that_does_not_answer_is_retried() -> None:
    snapshot = topology(Shard("a-1", "a", ""))
    regions = Regions(lambda: psycopg.connect("postgresql://me:hidden@127.0.0.1:1/control"), snapshot)
    with pytest.raises(Retryable, match="the control database: ") as caught:
        place(regions, "a")
    assert "hidden" not in str(caught.value)


def test_a_lock_that_is_held_is_waited_for_only_so_long(control: psycopg.Connection, database: str) -> None:
    snapshot = Topology([Shard("a-1", "a", "")], default_region="a", patience=Patience(lock=0.1))
    snapshot.sync(control)
    with psycopg.connect(database) as other:
        other.execute("SELECT * FROM shards FOR UPDATE")
        with pytest.raises(Retryable, match="lock timeout"):
            place(Regions(lambda: psycopg.connect(database), snapshot), "a")


def test_preparing_again_and_at_the_same_time_changes_nothing(world: RealWorld) -> None:
    failures: list[Exception] = []

    def prepare() -> None:
        try:
            world.topology.prepare()
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("shard", [shard.name for shard in SHARDS])
def test_a_prepared_shard_is_closed_to_everybody_else(world: RealWorld, shard: str) -> None:
    with world.topology.connect(shard) as connection:
        rights = connection.execute(
            "SELECT has_database_privilege('public', current_database(), 'CONNECT, TEMPORARY, CREATE'),"
            " has_schema_privilege('public', 'public', 'USAGE, CREATE'),"
            " has_schema_privilege('public', 'tenantry', 'USAGE, CREATE'),"
            " has_table_privilege('public', 'tenantry.fences', 'SELECT, INSERT, UPDATE, DELETE')"
        ).fetchone()
    assert rights == (False, False, False, False)


def test_a_shard_that_does_not_answer_is_named_with_a_remedy_and_without_its_password() -> None:
    with pytest.raises(Unavailable, match=r"shard a-1 cannot be prepared.*correct the url") as caught:
        topology(Shard("a-1", "a", "postgresql://me:hidden@127.0.0.1:1/shard")).prepare()
    assert "hidden" not in str(caught.value)
    for url in ("postgresql://me:hidden@[bad/shard", "me:hidden", "postgresql://me:hid%den@127.0.0.1:1/shard"):
        with pytest.raises(UsageError, match=r"the address of shard a-1 cannot be read") as refused:
            topology(Shard("a-1", "a", url)).prepare()
        assert "hid" not in str(refused.value)
        assert refused.value.__cause__ is refused.value.__context__ is None


def test_an_older_server_is_told_apart_before_anything_is_asked_of_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "OLDEST_SERVER", 190000)  # an older server is not at hand
    with pytest.raises(UsageError, match=r"shard a-1 needs PostgreSQL 19 or later, this is 18: upgrade that server"):
        topology(Shard("a-1", "a", database)).prepare()


@pytest.mark.parametrize(
    ("url", "reached"),
    [
        ("postgresql://me@one:5432,two:5433/shard?target_session_attrs=read-write", ("one,two", "5432,5433")),
        ("postgresql://me@one,two/shard", ("one,two", 5432)),
        ("postgresql://me@one:6000,two:6000/shard", ("one,two", 6000)),
        ("host=/run/postgresql port=6000 dbname=shard", ("127.0.0.1", 6000)),
        ("postgresql://me@[::1]:6000/shard", ("::1", 6000)),
    ],
)
def test_several_hosts_of_a_shard_are_all_told_to_its_products(url: str, reached: tuple[str, int | str]) -> None:
    assert Shard("a-1", "a", url).reached_at() == reached


def test_of_several_hosts_the_one_that_answers_is_used(database: str) -> None:
    place = conninfo_to_dict(database)
    there = f"{quote(str(place['host']), safe='')}:{place['port']}"
    url = f"postgresql://postgres@127.0.0.1:1,{there}/{place['dbname']}?target_session_attrs=read-write"
    shard = Shard("a-1", "a", url)
    several = Topology([shard], default_region="a", keep=1)
    several.prepare()
    with several.connect("a-1") as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (place["dbname"],)
    with several.connect("a-1", database="postgres") as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("postgres",)
    several.close()


def test_a_role_that_cannot_make_roles_is_refused(world: RealWorld) -> None:
    name = f"weak_{world.control_database}"
    with psycopg.connect(world.postgres.url(), autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'weak'")
        owner.execute(f"CREATE DATABASE {name} OWNER {name}")
    url = f"postgresql://{name}:weak@{world.postgres.host}:{world.postgres.port}/{name}"
    with pytest.raises(UsageError, match="needs CREATEROLE and CREATEDB"):
        topology(Shard("a-1", "a", url, isolation="database")).prepare()


def test_a_default_region_without_a_shard_is_refused() -> None:
    with pytest.raises(UsageError, match="default region mars has no shard"):
        Topology([Shard("a-1", "a", "")], default_region="mars")


def test_a_database_that_anybody_may_enter_is_warned_of(world: RealWorld, caplog: pytest.LogCaptureFixture) -> None:
    name = f"wide_{world.control_database}"
    with psycopg.connect(world.postgres.url(), autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE {name}")
    world.topology.prepare()
    assert f"every role may connect to database {name}: REVOKE CONNECT" in caplog.text
    world.postgres.drop_database(name)


def test_a_url_is_not_shown() -> None:
    assert "hidden" not in repr(Shard("a-1", "a", "postgresql://me:hidden@127.0.0.1/shard"))
