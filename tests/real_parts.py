"""Which real parts does a test get, and how long do they live?

A pytest plug-in: one PostgreSQL and one broker for the whole run, a fresh database and fresh topic names for
each test.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.embedded import EmbeddedBroker, EmbeddedPostgres


def pytest_configure(config: pytest.Config) -> None:
    # kafka-python leaves the sockets of failed connects, and some of closed ones, to the garbage collector.
    config.addinivalue_line("filterwarnings", "ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The server that all tests share. A test that kills its server starts its own."""
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-tests-") as directory,
        EmbeddedPostgres(Path(directory) / "postgres") as server,
    ):
        yield server


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The owner's URL of an empty database, dropped with all its sessions at the end of the test."""
    name = f"test_{uuid4().hex}"
    postgres.create_database(name)
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
