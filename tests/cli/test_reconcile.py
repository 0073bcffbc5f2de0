"""Does `tenantry reconcile` find what has drifted on real shards, and does the saga mend it?"""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.resources.passwords import changed
from adapters.resources.topology import reach_role
from domain.operator import Operator
from domain.scope.state import ScopeConverged, ScopePutOnHold, StepFailed, StepMissing, StepStarted
from domain.scope.steps import DatabaseResult, Scope, Step
from domain.stored_form import as_json
from runtime.compose.resources import reconciling_of
from tests.cli.cloud import Cloud

TABLE = "entitlement_jira_software"


def can_log_in(cloud: Cloud, role: str) -> bool:
    return bool(cloud.on("eu-1", f"SELECT 1 FROM pg_roles WHERE rolname = '{role}' AND rolcanlogin"))


def test_what_is_there_is_left_alone(cloud: Cloud) -> None:
    tenant_id = cloud.tenant()
    before = cloud.snapshot(tenant_id)
    cloud.finds_nothing()
    assert cloud.snapshot(tenant_id) == before


def test_a_login_role_that_was_dropped_is_made_again_by_the_saga(cloud: Cloud) -> None:
    tenant_id = cloud.tenant()
    role = cloud.database(tenant_id).roles[0].role
    cloud.on("eu-1", "DROP OWNED BY {}", role)
    cloud.on("eu-1", "DROP ROLE {}", role)
    said = cloud.says("reconcile", code=1)
    assert f"family:{tenant_id}:jira  step 6 database: login role {role} of jira-software is not there" in said
    assert "the saga ensures it again" in said
    assert not can_log_in(cloud, role), "nothing is mended behind the saga's back"
    cloud.finds_nothing()
    cloud.work()
    assert can_log_in(cloud, role)
    assert isinstance(cloud.facts(Scope("family", tenant_id, "jira"))[-1], ScopeConverged)
    cloud.finds_nothing()


def test_a_role_that_may_not_log_in_any_more_may_again(cloud: Cloud) -> None:
    role = cloud.database(cloud.tenant()).roles[0].role
    cloud.on("eu-1", "ALTER ROLE {} NOLOGIN", role)
    assert f"login role {role} of jira-software cannot log in, and should" in cloud.says("reconcile", code=1)
    cloud.work()
    assert can_log_in(cloud, role)
    cloud.finds_nothing()


@pytest.mark.parametrize(
    ("region", "statement", "said"),
    [
        ("eu", "ALTER ROLE {} PASSWORD 'guessed'", "has another password than the one derived for it"),
        ("us", "ALTER ROLE {} PASSWORD 'guessed'", "has another password than the one derived for it"),
        ("eu", "ALTER ROLE {} PASSWORD NULL", "has another password than the one derived for it"),
        ("eu", "ALTER ROLE {} VALID UNTIL '2020-01-01'", "cannot log in: the end of its password is over"),
        ("eu", "ALTER ROLE {} CONNECTION LIMIT 0", "cannot log in: its connection limit is 0"),
    ],
)
def test_a_role_that_nobody_gets_in_by_any_more_is_found_and_mended(
    cloud: Cloud, region: str, statement: str, said: str
) -> None:
    tenant_id = cloud.tenant(region=region)
    role = cloud.database(tenant_id).roles[0].role
    cloud.finds_nothing()
    cloud.on(f"{region}-1", statement, role)
    assert not gets_in(cloud, tenant_id)
    assert f"login role {role} of jira-software {said}" in cloud.says("reconcile", code=1)
    cloud.work()
    assert gets_in(cloud, tenant_id)
    cloud.finds_nothing()


def test_a_changed_password_is_found_by_an_administrator_who_may_not_read_verifiers(
    cloud: Cloud, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = cloud.tenant()
    database = cloud.database(tenant_id)
    role, url = database.roles[0].role, cloud.shards["eu-1"]
    derived = {role: password_of(cloud, tenant_id)}
    limited, by_tcp = f"limited_{tenant_id[2:]}", make_conninfo(url, host="127.0.0.1")
    cloud.on("eu-1", "CREATE ROLE {} LOGIN PASSWORD 'limited'", limited)
    cloud.on("eu-1", "GRANT CONNECT ON DATABASE {} TO {}", database.database, limited)
    try:
        address = make_conninfo(by_tcp, user=limited, password="limited")
        with psycopg.connect(address) as connection:
            assert changed(connection, derived, url=by_tcp) == frozenset()
            cloud.on("eu-1", "ALTER ROLE {} PASSWORD 'guessed'", role)
            assert changed(connection, derived, url=by_tcp) == {role}
    finally:
        cloud.on("eu-1", "DROP OWNED BY {}", limited)
        cloud.on("eu-1", "DROP ROLE {}", limited)


def test_a_password_that_was_changed_is_set_again_by_ensuring_the_family(cloud: Cloud) -> None:
    tenant_id = cloud.tenant()
    role = cloud.database(tenant_id).roles[0].role
    cloud.on("eu-1", "ALTER ROLE {} PASSWORD 'guessed'", role)
    scope = f"family:{tenant_id}:jira"
    said = cloud.says("runs", "ensure", scope, "--reason", "its password was changed")
    assert said.startswith(f"{scope} is ensured again: see")
    cloud.work()
    assert gets_in(cloud, tenant_id)
    cloud.finds_nothing()
    story = cloud.says("runs", "show", scope)
    assert "ensured again: by " in story
    assert "its password was changed" in story


def password_of(cloud: Cloud, tenant_id: str) -> str:
    return str(json.loads(cloud.says("credentials", tenant_id, "jira-software", "--json"))["password"])


def gets_in(cloud: Cloud, tenant_id: str) -> bool:
    """Whether the product reaches its database by what `tenantry credentials` says."""
    told = json.loads(cloud.says("credentials", tenant_id, "jira-software", "--json"))
    try:
        psycopg.connect(
            host=told["host"],
            port=told["port"],
            dbname=told["database"],
            user=told["role"],
            password=told["password"],
            connect_timeout=5,
        ).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_role_that_was_taken_out_of_its_group_is_let_in_again(cloud: Cloud) -> None:
    database = cloud.database(cloud.tenant())
    role = database.roles[0].role
    cloud.on("eu-1", "REVOKE {} FROM {}", f"g{database.schema_name[1:]}", role)
    assert f"{role} of jira-software may not use {database.schema_name}" in cloud.says("reconcile", code=1)
    cloud.work()
    cloud.finds_nothing()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("REVOKE USAGE ON SCHEMA {schema} FROM {group}", "may not use {schema}"),
        ("REVOKE CREATE ON SCHEMA {schema} FROM {group}", "may not use {schema}"),
        ("REVOKE {reach} FROM {group}", "may not use {schema}"),
        ("ALTER ROLE {role} CREATEROLE BYPASSRLS", "has what it was never given: CREATEROLE, BYPASSRLS"),
        ("ALTER ROLE {role} SUPERUSER", "has what it was never given: SUPERUSER"),
        ("GRANT pg_read_all_data TO {role}", "has what it was never given: membership of pg_read_all_data"),
        ("GRANT pg_read_all_data TO {group}", "has what it was never given: membership of pg_read_all_data"),
        ("GRANT {theirs} TO {role}", "has what it was never given: membership of {theirs}"),
        ("GRANT USAGE ON SCHEMA {schema} TO {neighbour}", "{schema} is open to others: {neighbour}"),
        ("GRANT USAGE ON SCHEMA {schema} TO PUBLIC", "{schema} is open to others: PUBLIC"),
        ("GRANT USAGE ON SCHEMA {schema} TO pg_monitor", "{schema} is open to others: pg_monitor"),
    ],
)
def test_rights_that_were_changed_by_hand_are_named_and_as_they_were_afterwards(
    cloud: Cloud, statement: str, said: str
) -> None:
    neighbour, database = cloud.database(cloud.tenant()), cloud.database(cloud.tenant())
    names = {
        "schema": database.schema_name,
        "group": f"g{database.schema_name[1:]}",
        "role": database.roles[0].role,
        "reach": reach_role(database.database),
        "theirs": f"g{neighbour.schema_name[1:]}",
        "neighbour": neighbour.roles[0].role,
    }
    before = [rights_of(cloud, each) for each in (neighbour, database)]
    cloud.on("eu-1", statement.format(**names))
    assert [rights_of(cloud, each) for each in (neighbour, database)] != before
    found = cloud.says("reconcile", code=1)
    assert said.format(**names) in found
    assert "1 scopes handed over to the saga" in found
    cloud.work()
    assert [rights_of(cloud, each) for each in (neighbour, database)] == before
    cloud.finds_nothing()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("REVOKE CONNECT ON DATABASE {name} FROM {group}", "may not use {name}"),
        ("GRANT {theirs} TO {role}", "has what it was never given: membership of {theirs}"),
        ("GRANT USAGE ON SCHEMA public TO PUBLIC", "{name} is open to others: PUBLIC"),
    ],
)
def test_so_are_those_of_a_family_with_a_database_of_its_own(cloud: Cloud, statement: str, said: str) -> None:
    neighbour, database = cloud.database(cloud.tenant(region="us")), cloud.database(cloud.tenant(region="us"))
    names = {
        "name": database.database,
        "group": f"g{database.database[1:]}",
        "role": database.roles[0].role,
        "theirs": f"g{neighbour.database[1:]}",
    }
    cloud.finds_nothing()
    cloud.on("us-1", statement.format(**names), database=database.database)
    assert said.format(**names) in cloud.says("reconcile", code=1)
    cloud.work()
    cloud.finds_nothing()


def rights_of(cloud: Cloud, database: DatabaseResult) -> list[object]:
    """Of the schema, its group and its login role, as PostgreSQL keeps them."""
    role, group = database.roles[0].role, f"g{database.schema_name[1:]}"
    return [
        cloud.on("eu-1", f"SELECT nspacl::text FROM pg_namespace WHERE nspname = '{database.schema_name}'"),
        cloud.on(
            "eu-1",
            "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles"
            f" WHERE rolname = '{role}'",
        ),
        cloud.on(
            "eu-1",
            "SELECT m.roleid::regrole::text, m.member::regrole::text, inherit_option, set_option FROM pg_auth_members m"
            f" WHERE m.member IN ('{role}'::regrole, '{group}'::regrole) ORDER BY 1, 2",
        ),
    ]


@pytest.mark.parametrize("change", ["DELETE FROM {}.{}", "UPDATE {}.{} SET users = 10000", "DROP TABLE {}.{}"])
def test_an_entitlement_that_is_not_as_it_was_laid_down_is_laid_down_again(cloud: Cloud, change: str) -> None:
    schema = cloud.database(cloud.tenant()).schema_name
    cloud.on("eu-1", change, schema, TABLE)
    assert "step 7 license: the entitlement" in cloud.says("reconcile", code=1)
    cloud.work()
    assert cloud.on("eu-1", "SELECT subject, users FROM {}.{}", schema, TABLE) == [("jira-software", 5)]
    cloud.finds_nothing()


def test_a_site_name_and_a_room_that_lost_their_reservation_are_reserved_again(cloud: Cloud) -> None:
    tenant_id = cloud.tenant()
    cloud.control("DELETE FROM site_names")
    cloud.control("DELETE FROM placements_reserved")
    said = cloud.says("reconcile", code=1)
    assert f"site:{tenant_id}  step 2 site: the site name {tenant_id} is not reserved" in said
    assert f"family:{tenant_id}:jira  step 3 region: its room on shard eu-1 is not reserved" in said
    cloud.work()
    assert cloud.control("SELECT site_name FROM site_names WHERE tenant_id = %s", tenant_id) == [(tenant_id,)]
    assert cloud.control("SELECT shard FROM placements_reserved") == [("eu-1",)]
    cloud.finds_nothing()


def test_a_schema_that_is_missing_is_held_and_its_products_closed_until_it_is_restored(cloud: Cloud) -> None:
    tenant_id = cloud.tenant()
    schema, role = cloud.database(tenant_id).schema_name, cloud.database(tenant_id).roles[0].role
    family, product = Scope("family", tenant_id, "jira"), Scope("product", tenant_id, "jira-software")
    cloud.on("eu-1", "DROP SCHEMA {} CASCADE", schema)
    said = cloud.says("reconcile", code=1)
    assert f"data_missing: schema {schema} is not on shard eu-1; not created again empty" in said
    cloud.work()
    assert not cloud.on("eu-1", f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'"), "it is not made empty"
    assert [type(event) for event in cloud.facts(family)[-4:]] == [StepMissing, StepStarted, StepFailed, ScopePutOnHold]
    assert "on hold: data_missing" in cloud.says("runs", "show", str(family))
    assert "waits for step 6 of family jira, which is on hold: data_missing" in cloud.says("show", tenant_id)
    assert not can_log_in(cloud, role)
    steps = cloud.snapshot(tenant_id).actual(product).steps
    assert Step.LICENSE not in steps
    assert as_json(steps[Step.SITE].spec)["access"] == "closed"
    assert as_json(steps[Step.IDENTITY].spec)["in_force"] is False
    again = cloud.says("reconcile", code=1)
    assert f"{family}  data_missing, as was recorded before: see `tenantry runs show {family}`" in again
    assert "all else is there" in again
    assert json.loads(cloud.says("reconcile", "--json", code=1))["data_missing"] == [str(family)]

    cloud.says("runs", "retry", str(family), "--reason", "too early")
    cloud.work()
    assert cloud.snapshot(tenant_id).actual(family).on_hold is not None, "it is still missing: held again"

    cloud.on("eu-1", "CREATE SCHEMA {}", schema)  # stands for the restore
    said = cloud.refuses("runs", "recreate", tenant_id, "--family", "jira", "--reason", "too late")
    assert f"the database of {family} is there: `tenantry runs retry {family}` opens it again" in said
    cloud.says("runs", "retry", str(family), "--reason", "restored")
    cloud.work()
    assert cloud.snapshot(tenant_id).actual(product).level == "open"
    assert Step.LICENSE in cloud.snapshot(tenant_id).actual(product).steps
    assert can_log_in(cloud, role)
    cloud.finds_nothing()


def test_a_database_whose_loss_is_accepted_is_made_anew_under_another_name_and_marked(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tenant_id = cloud.tenant()
    before, settings = cloud.database(tenant_id), tmp_path / "tenantry.toml"
    family, product = Scope("family", tenant_id, "jira"), Scope("product", tenant_id, "jira-software")
    recreate = ("runs", "recreate", tenant_id, "--product", "jira-software", "--reason", "there is no backup")
    assert "nobody has found the database" in cloud.refuses(*recreate)
    cloud.on("eu-1", "DROP SCHEMA {} CASCADE", before.schema_name)
    cloud.says("reconcile", code=1)
    cloud.work()
    there = settings.read_text()
    settings.write_text(there.replace(cloud.shards["eu-1"], "postgresql://nobody@127.0.0.1:1/none"))
    assert "shard eu-1 does not answer" in cloud.refuses(*recreate), "unreachable is not absent"
    settings.write_text(there)
    assert "created again, without the data of jira-software" in cloud.says(*recreate)
    assert "is being made anew already" in cloud.refuses(*recreate)
    cloud.work()
    after = cloud.database(tenant_id)
    assert after.schema_name != before.schema_name
    assert cloud.on("eu-1", "SELECT subject FROM {}.{}", after.schema_name, TABLE) == [("jira-software",)]
    assert can_log_in(cloud, after.roles[0].role)
    assert not cloud.on("eu-1", f"SELECT 1 FROM pg_roles WHERE rolname = '{before.roles[0].role}'")
    converged = cloud.facts(product)[-1]
    assert isinstance(converged, ScopeConverged)
    assert (converged.level, converged.data_lost) == ("open", True)
    shown = json.loads(cloud.says("show", tenant_id, "--json"))
    assert shown["actual"]["products"]["jira-software"]["data_lost"] is True
    assert "open, data_lost" in cloud.says("show", tenant_id)
    assert "there is no backup; created again" in cloud.says("runs", "show", str(family))
    cloud.finds_nothing()
    assert cloud.says("orphans").strip() == "no orphans"


def test_a_tenant_whose_data_is_missing_can_be_purged(cloud: Cloud) -> None:
    tenant_id = cloud.tenant()
    role = cloud.database(tenant_id).roles[0].role
    cloud.on("eu-1", "DROP SCHEMA {} CASCADE", cloud.database(tenant_id).schema_name)
    cloud.says("reconcile", code=1)
    cloud.work()
    cloud.purge(tenant_id)
    family = cloud.snapshot(tenant_id).family("jira")
    assert (family.is_empty, family.on_hold) == (True, None)
    assert not cloud.on("eu-1", f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'")


def test_a_dry_run_says_the_same_and_records_nothing(cloud: Cloud) -> None:
    tenant_id = cloud.tenant()
    cloud.control("DELETE FROM site_names")
    before = cloud.snapshot(tenant_id)
    said = cloud.says("reconcile", "--dry-run", code=1)
    assert "is not reserved; the saga ensures it again" in said
    assert "nothing was recorded" in said
    assert cloud.snapshot(tenant_id) == before


def test_only_the_named_tenant_is_looked_at(cloud: Cloud) -> None:
    one, other = cloud.tenant(), cloud.tenant()
    cloud.control("DELETE FROM site_names")
    told = json.loads(cloud.says("reconcile", "--tenant", one, "--json", code=1))
    assert [(finding["scope"], finding["outcome"]) for finding in told["findings"]] == [(f"site:{one}", "handed_over")]
    assert cloud.snapshot(other).site().at_rest


def test_a_shard_that_is_silent_is_not_looked_at_and_nothing_of_it_is_missing(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, there = cloud.tenant(region="eu"), cloud.tenant(region="us")
    settings = tmp_path / "tenantry.toml"
    settings.write_text(settings.read_text().replace(cloud.shards["us-1"], "postgresql://nobody@127.0.0.1:1/none"))
    told = json.loads(cloud.says("reconcile", "--json", code=1))
    assert list(told["not_looked_at"]) == ["us-1"]
    assert told["findings"] == []
    assert cloud.snapshot(there).family("jira").at_rest
    assert cloud.snapshot(here).family("jira").at_rest
    assert "us-1 was not looked at" in cloud.says("reconcile", code=1)


def test_a_shard_that_is_empty_stops_the_sweep_before_anything_is_recorded(cloud: Cloud) -> None:
    tenants = [cloud.tenant() for _ in range(4)]
    cloud.control("DELETE FROM site_names WHERE tenant_id = %s", tenants[0])
    for tenant_id in tenants:
        cloud.on("eu-1", "DROP SCHEMA {} CASCADE", cloud.database(tenant_id).schema_name)
    before = [cloud.snapshot(tenant_id) for tenant_id in tenants]
    said = cloud.says("reconcile", code=1)
    assert "eu-1: 4 of 4 scopes are missing: it looks like a wrong or an empty server, so nothing was recorded" in said
    assert [cloud.snapshot(tenant_id) for tenant_id in tenants] == before


def test_an_observation_of_a_stream_that_moved_on_is_dropped(cloud: Cloud) -> None:
    tenant_id = cloud.tenant()
    role = cloud.database(tenant_id).roles[0].role
    cloud.on("eu-1", "ALTER ROLE {} NOLOGIN", role)
    reconciling = reconciling_of(cloud.parts)
    sweep = reconciling.sweep(say=lambda sweep: None)
    cloud.says("runs", "hold", f"family:{tenant_id}:jira", "--reason", "somebody works on it")
    mended = reconciling.mend(sweep, by=Operator.parse("test"))
    assert mended.dropped == [Scope("family", tenant_id, "jira")]
    assert mended.handed_over == []
