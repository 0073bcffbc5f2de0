"""Which server do the struck workers have?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from tests.crashes.cloud import Cloud, a_cloud


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    """One for these tests alone: whatever is on it and should not be, one of them has left."""
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-tests-") as directory,
        EmbeddedPostgres(Path(directory) / "postgres") as running,
    ):
        with psycopg.connect(running.url(), autocommit=True) as connection:
            # Workers die here, the server does not: nothing needs to wait for its disk.
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield running


@pytest.fixture
def cloud(server: EmbeddedPostgres) -> Iterator[Cloud]:
    with a_cloud(server) as made:
        yield made
