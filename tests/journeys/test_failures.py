"""What is said, and what goes on, where something that is needed is not there?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.journeys.events import activated, created, destroyed, new_tenant
from tests.journeys.running import Running, tenantry_process, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = """\
policy_file = "policy.toml"

[[shards]]
name = "eu-1"
region = "eu"
capacity = 1

[[shards]]
name = "us-1"
region = "us"
isolation = "database"
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Tenantry with room for one family in `eu`, none in `ap`, and a restore window of a second."""
    place = tmp_path_factory.mktemp("small")
    policy = (Path(__file__).parent.parent.parent / "domain" / "policy.toml").read_text()
    policy = policy.replace('"P14D"', '"PT1S"').replace('"PT1M"', '"PT1S"').replace("= 1000", "= 2")
    (place / "policy.toml").write_text(policy)
    (place / "tenantry.toml").write_text(SETTINGS)
    with Running(place / "data", {"TENANTRY_CONFIG": str(place / "tenantry.toml")}) as running:
        yield running


def test_a_family_waits_where_its_shards_are_full_and_says_so(small: Running) -> None:
    first, second = new_tenant(), new_tenant()
    small.send(created(first, "atlas", residency="pinned", region="eu"))
    small.until_level(first, "atlas", "open")
    small.send(created(second, "atlas", "confluence", residency="pinned", region="eu"))

    def wait_of_the_family() -> Any:
        family = _in_state(small, second, "families", "atlas", "waiting")
        return family if family and "step 2 of the site" not in family["reason"] else None

    family = wait_for(wait_of_the_family, "the family to wait for capacity")
    assert family["reason"] == "no room in region eu: 1 of 1 used; add a shard or raise its capacity"
    product = small.show(second)["actual"]["products"]["atlas"]
    assert (product["level"], product["state"]) == ("absent", "waiting")
    assert second in [row["tenant_id"] for row in small.json("tenants", "--state", "waiting")]
    assert small.json("status")["scopes"]["waiting"] >= 2
    assert small.disagreements() == []


def test_a_region_that_is_not_in_the_topology_is_failed_with_one_reason(small: Running) -> None:
    tenant = new_tenant()
    small.send(created(tenant, "atlas", residency="pinned", region="ap"))
    family = wait_for(lambda: _in_state(small, tenant, "families", "atlas", "failed"), "the family to fail")
    assert family["reason"] == "region ap has no shard (regions: eu, us): name one, or add a shard there"
    small.until_settled(tenant)
    assert tenant in [row["tenant_id"] for row in small.json("tenants", "--state", "failed")]
    # The site lives, and another product of the tenant with a region that is there opens.
    small.send(activated(tenant, "confluence", residency="pinned", region="us"))
    small.until_level(tenant, "confluence", "open")
    assert small.show(tenant)["actual"]["site"]["state"] == "converged"


def test_a_database_of_its_own_is_as_closed_as_a_schema(small: Running) -> None:
    ours, neighbour = new_tenant(), new_tenant()
    accounts = []
    for tenant in (ours, neighbour):
        small.send(created(tenant, "atlas", residency="pinned", region="us"))
        small.until_level(tenant, "atlas", "open")
        accounts.append(small.json("credentials", tenant, "atlas"))
    mine, theirs = accounts
    assert mine["database"] != theirs["database"]
    with _log_in(mine) as session:
        session.execute("CREATE TABLE goals ()")
        assert session.execute("SELECT subject FROM entitlement_atlas").fetchall() == [("atlas",)]
    for wrong in ({**mine, "password": "wrong"}, {**mine, "database": theirs["database"]}):
        with pytest.raises(psycopg.OperationalError, match=r"password|permission denied for database"):
            _log_in(wrong)


def test_what_comes_for_a_destroyed_tenant_after_its_restore_window_is_quarantined(small: Running) -> None:
    tenant = new_tenant()
    end, late = destroyed(tenant, revision=2), activated(tenant, "atlas", revision=3)
    small.send(created(tenant, revision=1), end)
    small.until_taken_in(end)
    wait_for(
        lambda: small.one("SELECT now() > received_at + interval '1.5 s' FROM incoming WHERE id = %s", end.id),
        "the end of the restore window",
    )
    small.send(late)
    small.until_taken_in(late)
    (entry,) = [each for each in small.json("quarantine", "list") if each["id"] == late.id]
    assert entry["rule"] == "tenant-destroyed"


def test_a_shard_that_does_not_answer_is_waited_for_and_the_others_go_on(small: Running) -> None:
    """The server ends all sessions of the one database and refuses new ones; nothing is counted as absent."""
    tenant, other = new_tenant(), new_tenant()
    small.send(created(tenant, "atlas", residency="pinned", region="us"))
    small.until_level(tenant, "atlas", "open")
    place = small.placement(tenant, "atlas")
    with psycopg.connect(small.shard_url("postgres"), autocommit=True) as owner:
        owner.execute("ALTER DATABASE shard_us_1 ALLOW_CONNECTIONS false")
        owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shard_us_1'")
        small.send(activated(tenant, "compass"), created(other))
        query = "SELECT reason FROM provisioning_steps WHERE tenant_id = %s AND reason IS NOT NULL"
        retrying = wait_for(lambda: small.rows(query, tenant), "a step that is tried again")
        assert "us-1" in retrying[0]["reason"]
        wait_for(lambda: small.rows("SELECT 1 FROM sites WHERE tenant_id = %s", other), "another tenant's site")
        owner.execute("ALTER DATABASE shard_us_1 ALLOW_CONNECTIONS true")
    small.until_level(tenant, "compass", "open")
    assert small.placement(tenant, "atlas") == place


@pytest.mark.endurance
def test_up_says_in_one_line_what_is_not_there(tmp_path: Path) -> None:
    nowhere = {"TENANTRY_DATABASE_URL": "postgresql://somebody:verysecret@127.0.0.1:1/tenantry"}
    broker = {"TENANTRY_KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    (tmp_path / "master.key").write_text("A" * 43 + "=")
    (tmp_path / "master.key").chmod(0o600)
    told = tenantry_process("up", "--data-dir", tmp_path, env={**nowhere, **broker})
    assert (told.exit_code, told.stdout) == (1, "")
    assert "the database tenantry on 127.0.0.1 does not answer" in told.error
    assert "verysecret" not in told.stderr

    told = tenantry_process("up", "--json", "--data-dir", tmp_path / "data", env=broker)
    assert (told.exit_code, told.stdout) == (1, "")
    assert "no Kafka broker answered at 127.0.0.1:1" in told.error
    with pytest.raises(FileNotFoundError):
        (tmp_path / "data" / "up.json").read_text()
    assert not (tmp_path / "data" / "postgres" / "cluster" / "postmaster.pid").exists()

    (tmp_path / "data" / "master.key").unlink()
    told = tenantry_process("up", "--json", "--data-dir", tmp_path / "data")
    assert (told.exit_code, told.stdout) == (2, "")
    assert "master" in told.error


def _in_state(tenantry: Running, tenant: str, kind: str, key: str, state: str) -> dict[str, Any] | None:
    if not tenantry.rows("SELECT 1 FROM customer_tenants WHERE tenant_id = %s", tenant):
        return None
    found: dict[str, Any] | None = tenantry.show(tenant)["actual"][kind].get(key)
    return found if found and found["state"] == state else None


def _log_in(account: dict[str, Any]) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host=account["host"],
        port=account["port"],
        dbname=account["database"],
        user=account["role"],
        password=account["password"],
        autocommit=True,
    )
