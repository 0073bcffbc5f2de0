"""Which real parts does a test get, and how long do they live?

A pytest plug-in: one PostgreSQL and one broker for the whole run, a fresh database and fresh topic names for
each test.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from adapters.embedded.broker import EmbeddedBroker
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.migrations import migrate

MEMORY_BYTES: Final = 4 << 30


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The server that all tests share. A test that kills its server starts its own.

    This one may forget when the machine loses its power, not before: nobody here pulls the plug, and DROP DATABASE
    would wait for the disk a thousand times.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-tests-", dir=_memory()) as directory,
        EmbeddedPostgres(Path(directory) / "postgres") as server,
    ):
        with psycopg.connect(server.url(), autocommit=True) as owner:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                owner.execute(f"ALTER SYSTEM SET {setting} = off")
            owner.execute("SELECT pg_reload_conf()")
        yield server


def _memory() -> str | None:
    """A file system in memory with space for thousands of databases, where there is one: a copy takes a third then."""
    try:
        return "/dev/shm" if shutil.disk_usage("/dev/shm").free > MEMORY_BYTES else None  # noqa: S108
    except OSError:
        return None


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The owner's URL of an empty database, dropped with all its sessions at the end of the test."""
    yield from _copied(postgres, "template0")


@pytest.fixture(scope="session")
def _migrated(postgres: EmbeddedPostgres) -> str:
    """The name of a database with all tables, which the others are copies of: quicker than to migrate each."""
    name = f"migrated_{uuid4().hex}"
    make_database(postgres, name)
    migrate(postgres.url(name))
    return name


@pytest.fixture
def migrated_database(postgres: EmbeddedPostgres, _migrated: str) -> Iterator[str]:
    """As `database`, with all tables in it."""
    yield from _copied(postgres, _migrated)


@pytest.fixture(scope="session")
def fresh_database(postgres: EmbeddedPostgres, _migrated: str) -> Callable[[], AbstractContextManager[str]]:
    """Makes such databases, each for as long as the block lasts: for one test that needs many."""
    return lambda: contextmanager(_copied)(postgres, _migrated)


@pytest.fixture
def second_database(postgres: EmbeddedPostgres, _migrated: str) -> Iterator[str]:
    """Another one: a second installation."""
    yield from _copied(postgres, _migrated)


def make_database(postgres: EmbeddedPostgres, name: str, template: str = "template0") -> None:
    """A database as `template` is. Files are copied and not logged: half the time, where nothing waits for the disk."""
    with psycopg.connect(postgres.url(), autocommit=True) as owner:
        for statement in (
            "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy",
            "REVOKE ALL ON DATABASE {} FROM PUBLIC",
        ):
            owner.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(template)))


def _copied(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    make_database(postgres, name, template)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def broker() -> Iterator[EmbeddedBroker]:
    """The Kafka broker that all tests share: keep out of each other's way with `topic_prefix`."""
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-tests-") as directory,
        EmbeddedBroker(Path(directory)) as running,
    ):
        yield running


@pytest.fixture
def topic_prefix() -> str:
    """A start for the names of topics and groups that no other test has."""
    return f"test-{uuid4().hex[:12]}-"
