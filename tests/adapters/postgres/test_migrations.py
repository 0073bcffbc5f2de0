"""Do the migrations make the tables that the code expects, and does each way lead back?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, NullPool, create_engine, text

from adapters.postgres import migrations, schema_revision
from adapters.postgres.heartbeats import Heartbeat
from adapters.postgres.live_workers import alive
from domain.errors import Unavailable, UsageError
from projections import INTEGRATION, PROJECTIONS
from projections.base import METADATA
from tests.journeys.running import wait_for

WHEN_WORKERS_BEGAN_TO_TELL: Final = "0015"
"""The revision from which on workers of two versions may be at work (ADR 14)."""


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database), poolclass=NullPool)
    yield engine
    engine.dispose()


def things_in(database: str) -> set[str]:
    """Every table, view, sequence, index and type of ours that is left."""
    query = """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
    """
    with psycopg.connect(database) as connection:
        return {name for (name,) in connection.execute(query)}


def test_up_down_and_up_again_leads_to_the_same(database: str) -> None:
    assert migrations.current(database) is None
    migrations.migrate(database)
    assert migrations.current(database) == migrations.head()
    first = things_in(database)
    migrations.downgrade(database, "base")
    assert migrations.current(database) is None
    assert {name for name in things_in(database) if "alembic_version" not in name} == set()
    migrations.migrate(database)
    assert things_in(database) == first


def test_each_step_can_be_taken_back_alone(database: str) -> None:
    migrations.migrate(database, revision="0002")
    before = things_in(database)
    migrations.migrate(database, revision="0003")
    assert things_in(database) > before
    migrations.downgrade(database, "0002")
    assert things_in(database) == before


def test_a_database_that_is_up_to_date_is_left_as_it_is(database: str) -> None:
    migrations.migrate(database)
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO customers (customer_id) VALUES ('c1')")
    migrations.migrate(database)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT customer_id FROM customers").fetchall() == [("c1",)]


def test_several_at_once_are_safe(database: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: migrations.migrate(database), range(4)))
    assert migrations.current(database) == migrations.head()


def test_the_tables_of_the_read_models_are_as_migrated(database: str, engine: Engine) -> None:
    migrations.migrate(database)
    ours = {table.name for table in METADATA.tables.values() if not table.is_view}
    assert ours >= {table.name for projection in (*PROJECTIONS, INTEGRATION) for table in projection.tables}

    def is_ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or name in ours

    def is_no_view(thing: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
        return not getattr(thing, "is_view", False)

    with engine.connect() as connection:
        options = {"include_name": is_ours, "include_object": is_no_view, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


def test_the_views_are_as_migrated(database: str, engine: Engine) -> None:
    migrations.migrate(database)
    views = [table.name for table in METADATA.tables.values() if table.is_view]
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA other"))
        METADATA.create_all(connection.execution_options(schema_translate_map={None: "other"}))

    def definitions(schema: str) -> dict[str, str]:
        with psycopg.connect(database) as connection:
            connection.execute(f"SET search_path TO {schema}".encode())
            return {
                name: str(connection.execute("SELECT pg_get_viewdef(%s::regclass)", (name,)).fetchone())
                for name in views
            }

    assert sorted(views) == ["identities", "sites"]
    assert definitions("other") == definitions("public")


def test_an_unknown_revision_is_refused(database: str) -> None:
    with pytest.raises(UsageError, match="9999"):
        migrations.migrate(database, revision="9999")
    assert migrations.current(database) is None


def test_a_database_that_a_newer_version_migrated_is_left_alone(database: str) -> None:
    migrations.migrate(database)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UsageError, match="9999"):
        migrations.migrate(database)


def test_a_migration_that_fails_changes_nothing(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE licenses (of_somebody_else int)")
    before = things_in(database)
    with pytest.raises(Exception, match="already exists"):
        migrations.migrate(database)
    assert things_in(database) == before


def test_a_database_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"database nowhere on .* does not answer") as caught:
        migrations.migrate("postgresql://somebody:topsecret@127.0.0.1:1/nowhere")
    assert "topsecret" not in str(caught.value)
    assert "TENANTRY_DATABASE_URL" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_url_that_cannot_be_read_is_a_usage_error_that_keeps_the_password() -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        migrations.current("postgres//somebody:topsecret@host/database")
    assert "topsecret" not in str(caught.value)


def columns_of(database: str) -> dict[tuple[str, str], tuple[str, bool, bool]]:
    """Of each column of a table of ours its type, whether it must not be null, and whether it has a default."""
    query = """
        SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, atthasdef OR attidentity <> ''
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped
    """
    with psycopg.connect(database) as connection:
        return {(table, name): (kind, *rest) for table, name, kind, *rest in connection.execute(query)}


def hurts(before: dict[tuple[str, str], tuple[str, bool, bool]], after: dict[tuple[str, str], Any]) -> list[str]:
    """What a worker that knows the tables as they were before cannot work with."""
    tables = {table for table, _ in before}
    found = []
    for place, (kind, is_needed, has_default) in before.items():
        if place not in after:
            found.append(f"{place} is gone")
        elif after[place][0] != kind:
            found.append(f"{place} has another type")
        elif after[place][1] and not is_needed:
            found.append(f"{place} must not be null any more")
        elif has_default and not after[place][2]:
            found.append(f"{place} has no default any more")
    return found + [
        f"{place} must be given, and no older worker knows it"
        for place, (_, is_needed, has_default) in after.items()
        if place not in before and place[0] in tables and is_needed and not has_default
    ]


def test_a_migration_only_adds_unless_it_says_who_needs_what_it_takes_away(database: str) -> None:
    directory = ScriptDirectory(str(schema_revision.scripts()))
    before: dict[tuple[str, str], tuple[str, bool, bool]] = {}
    for revision in schema_revision.known_revisions():
        migrations.migrate(database, revision=revision)
        after = columns_of(database)
        if revision > WHEN_WORKERS_BEGAN_TO_TELL and not hasattr(directory.get_revision(revision).module, "contracts"):
            assert not hurts(before, after), revision
        before = after


def test_the_names_of_the_scripts_are_their_revisions() -> None:
    directory = ScriptDirectory(str(schema_revision.scripts()))
    assert [each.revision for each in directory.walk_revisions()] == [*reversed(schema_revision.known_revisions())]


def takes_away(needed: str) -> Any:
    """A script that says that it takes away what workers need that do not know this revision."""
    return SimpleNamespace(revision="9999", module=SimpleNamespace(contracts=needed))


def test_a_migration_that_takes_away_waits_for_the_last_older_worker(database: str, engine: Engine) -> None:
    migrations.migrate(database)
    newest = schema_revision.known_revisions()[-1]
    heart = Heartbeat(database, name="relay-1", kind="relay", details=dict)
    heart.start()
    wait_for(lambda: alive(database), "the worker to beat")
    with engine.begin() as connection:
        migrations.expect_no_need(connection, [takes_away(newest)])
        with pytest.raises(UsageError, match=f"worker relay-1 .schema revision {newest}.*knows no revision 9998"):
            migrations.expect_no_need(connection, [takes_away("9998")])
    heart.stop()


def test_a_worker_that_tells_nothing_is_an_older_one(database: str, engine: Engine) -> None:
    migrations.migrate(database)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO workers (name, kind, host, pid, state, details, started_at, seen_at)"
                " VALUES ('old', 'relay', 'here', 1, 'ready', '{}', now(), now())"
            )
        )
        with pytest.raises(UsageError, match=r"worker old .schema revision unknown"):
            migrations.expect_no_need(connection, [takes_away("0001")])
        connection.execute(text("UPDATE workers SET seen_at = now() - interval '11 s'"))
        migrations.expect_no_need(connection, [takes_away("0001")])


def test_a_lock_that_somebody_holds_is_waited_for_shortly_and_the_migration_is_tried_again(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(migrations, "PAUSE_SECONDS", 0.1)
    migrations.migrate(database, revision="0016")
    with ThreadPoolExecutor(1) as threads, psycopg.connect(database) as reader:
        reader.execute("SELECT count(*) FROM wakes")
        migrating = threads.submit(migrations.migrate, database)
        with psycopg.connect(database, options="-c lock_timeout=3s", autocommit=True) as other:
            for _ in range(20):  # nobody waits for longer than the migration does
                other.execute("SELECT count(*) FROM wakes")
                time.sleep(0.05)
        assert not migrating.done()
        reader.rollback()
        migrating.result(20)
    assert migrations.current(database) == migrations.head()


def test_the_scripts_of_a_wheel_are_found_beside_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "site-packages 100%"
    (packages / "adapters").mkdir(parents=True)
    (packages / "alembic").mkdir()  # the library itself
    scripts = Path(migrations.__file__).parents[2] / "alembic"
    (packages / "tenantry_migrations").symlink_to(scripts)
    here = migrations.head()
    monkeypatch.setattr(schema_revision, "__file__", str(packages / "adapters" / "postgres" / "schema_revision.py"))
    assert migrations.head() == here
