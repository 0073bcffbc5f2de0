"""A console over a Tenantry whose workers a test turns by hand."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from adapters.postgres.console_role import name_of
from runtime.compose.console import console_parts_of
from tests.cli.conftest import Desk, desk
from tests.console.asking import Browser, access

__all__ = ["desk"]


@pytest.fixture
def browser(desk: Desk) -> Iterator[Browser]:
    """One who has the token, and so every role."""
    made = Browser(console_parts_of(desk.parts), access())
    yield made
    made.close()
    drop_role(desk.parts.endpoints.database_url)


def drop_role(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        role = sql.Identifier(name_of(str(connection.info.dbname)))
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", action="store_true", help="take the pictures of docs/how-to/console.md")
