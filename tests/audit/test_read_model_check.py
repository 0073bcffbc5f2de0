"""Is every difference between the read models and the log found, and none where there is none?"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from adapters.postgres.event_log import PostgresEventLog
from audit.read_model_check import ReadModelComparison, Views
from domain.errors import UnreadableEvent, UsageError
from history.rebuild.replay import Replay
from tests.history.stories import OpenKeys, PlainSources, Stories, append


@pytest.fixture
def log(migrated_database: str) -> Iterator[PostgresEventLog]:
    opened = PostgresEventLog(migrated_database, OpenKeys())
    append(opened, Stories(3, tenants=20).take(600))
    with opened.datastore.transaction(commit=True) as curs:
        curs.execute(
            "INSERT INTO customer_tenants SELECT DISTINCT 'c' || tenant, tenant FROM"
            " (SELECT split_part(originator_id, ':', 2) AS tenant FROM stored_events"
            " WHERE topic = 'tenantry.tenant-created') AS t"
        )
    Replay(PlainSources(migrated_database)).rebuild([])
    yield opened
    opened.close()


def compare(url: str, sample: int | None = None, seed: int = 0) -> ReadModelComparison:
    return Views(PlainSources(url)).compare(sample=sample, seed=seed)


def change(url: str, statement: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).rowcount


@pytest.mark.usefixtures("log")
def test_read_models_that_are_what_the_log_says_have_no_differences(migrated_database: str) -> None:
    everything = compare(migrated_database)
    assert (everything.differences, everything.more, everything.tenants) == ([], 0, None)
    assert everything.rows > 100
    some = compare(migrated_database, sample=5)
    assert (some.differences, some.tenants) == ([], 5)
    assert 0 < some.events < everything.events


@pytest.mark.usefixtures("log")
def test_each_difference_is_named_by_table_key_and_column(migrated_database: str) -> None:
    assert change(migrated_database, "UPDATE sites_base SET site_name = 'other' WHERE tenant_id = 't3'") == 1
    assert change(migrated_database, "DELETE FROM tenant_customers WHERE tenant_id = 't4'") == 1
    assert change(migrated_database, "INSERT INTO sites_base (tenant_id) VALUES ('nobody')") == 1
    assert change(migrated_database, "UPDATE customers SET administrators = '[]' WHERE customer_id = 'ct5'") <= 1
    found = compare(migrated_database).differences
    named = {(each.table, each.key, each.column) for each in found}
    assert {
        ("sites_base", ("t3",), "site_name"),
        ("tenant_customers", ("t4",), None),
        ("sites_base", ("nobody",), None),
    } <= named
    assert named - {("customers", ("ct5",), "administrators")} == {
        ("sites_base", ("t3",), "site_name"),
        ("tenant_customers", ("t4",), None),
        ("sites_base", ("nobody",), None),
    }
    [missing] = [each for each in found if each.key == ("t4",)]
    assert (missing.expected, missing.found) == ("a row", "no row")
    sampled = compare(migrated_database, sample=20)
    assert ("sites_base", ("t3",), "site_name") in {(each.table, each.key, each.column) for each in sampled.differences}


def test_facts_beyond_where_a_projection_stands_are_not_expected_of_it(
    migrated_database: str, log: PostgresEventLog
) -> None:
    append(log, Stories(4, tenants=5, prefix="later").take(100))
    compared = compare(migrated_database)
    assert (compared.differences, compared.position, compared.behind, compared.log) == ([], 600, 600, 700)


@pytest.mark.usefixtures("log")
def test_the_same_seed_draws_the_same_tenants(migrated_database: str) -> None:
    first, again, other = (compare(migrated_database, sample=3, seed=seed).events for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.usefixtures("log")
def test_a_fact_that_cannot_be_read_is_an_error_that_names_it(migrated_database: str) -> None:
    change(migrated_database, "UPDATE stored_events SET topic = 'tenantry.unheard' WHERE notification_id = 100")
    with pytest.raises(UnreadableEvent, match=r"unknown topic tenantry\.unheard: read it with the version"):
        compare(migrated_database)


def test_a_store_without_tenants_is_refused(migrated_database: str) -> None:
    with pytest.raises(UsageError, match="no tenants"):
        compare(migrated_database, sample=5)
