"""Does docs/reference/read-models.md name what a consumer may read, and may the reader role read just that?"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from adapters.postgres.reader_role import READABLE, ensure_reader_role

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "read-models.md"


def columns_told() -> dict[str, set[str]]:
    """Each table of the page with its columns: those of the rows below its heading."""
    found: dict[str, set[str]] = {}
    for part in re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        name = part.split("`")[1]
        found[name] = {match[1] for line in part.splitlines() if (match := re.match(r"\| `(\w+)`", line))}
    return found


def test_the_page_names_every_column_that_a_consumer_may_read(migrated_database: str) -> None:
    told = columns_told()
    assert set(told) == READABLE.keys() - {"sites_base", "projection_positions"}
    with psycopg.connect(migrated_database) as connection:
        for table, columns in told.items():
            rows = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s",
                (table,),
            ).fetchall()
            assert columns == {name for (name,) in rows if name in READABLE[table] or not READABLE[table]}, table


def test_the_reader_role_sees_these_and_nothing_of_a_person(
    fresh_database: Callable[[], AbstractContextManager[str]],
) -> None:
    with fresh_database() as url:
        role = ensure_reader_role(url)
        assert role == ensure_reader_role(url), "it may be repeated"
        assert role is not None
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            for table, columns in READABLE.items():
                what = sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("*")
                connection.execute(sql.SQL("SELECT {} FROM {}").format(what, sql.Identifier(table)))
            for query in (
                "SELECT organization FROM configurations",
                "SELECT * FROM customers",
                "SELECT * FROM identity_users",
                "SELECT * FROM stored_events",
                "SELECT * FROM outbox",
                "SELECT * FROM quarantine",
                "SELECT * FROM data_keys",
                "DELETE FROM contexts",
            ):
                with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable)):
                    connection.execute(query.encode())
            connection.execute("RESET ROLE")
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
