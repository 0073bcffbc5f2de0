"""Do the migrations make the tables that the code expects, and does each way lead back?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, NullPool, create_engine, text

from adapters.postgres import migrations
from domain.errors import Unavailable, UsageError
from projections import INTEGRATION, PROJECTIONS
from projections.base import METADATA


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


def test_the_scripts_of_a_wheel_are_found_beside_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "site-packages 100%"
    (packages / "adapters").mkdir(parents=True)
    (packages / "alembic").mkdir()  # the library itself
    scripts = Path(migrations.__file__).parents[2] / "alembic"
    (packages / "tenantry_migrations").symlink_to(scripts)
    here = migrations.head()
    monkeypatch.setattr(migrations, "__file__", str(packages / "adapters" / "postgres" / "migrations.py"))
    assert migrations.head() == here
