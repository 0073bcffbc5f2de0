"""Schema revision: the one that the database is at, held against those that this version knows.

Revisions are known by the names of the scripts, `0021_room_for_updates.py`, so that a worker that starts imports no
migration. During an upgrade each of the two may be ahead:

    the database is older  ──▶ Unavailable (`not-migrated`): a worker waits for the migration, and then goes on
    the database is newer  ──▶ all is well: a migration adds, and one that takes away is refused while a live worker
                               still needs what it takes (migrations.py)
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from adapters.postgres.connection import connect
from adapters.postgres.errors import answering
from domain.errors import Unavailable, problem

SCHEMA: Final = "schema revision"
"""Stands among what a worker reads, beside its events: the newest revision that it knows, as a number."""


def scripts() -> Path:
    """The folder of the migrations. In a wheel the folder beside us that is called `alembic` is the library."""
    beside = Path(__file__).resolve().parents[2]
    installed = beside / "tenantry_migrations"
    return installed if installed.is_dir() else beside / "alembic"


@cache
def known_revisions() -> tuple[str, ...]:
    """All of this version, the oldest first."""
    return tuple(sorted(path.name.partition("_")[0] for path in (scripts() / "versions").glob("[0-9]*.py")))


def expect_schema(url: str) -> None:
    """Raises Unavailable where the database does not answer, or is at an older revision than this version needs."""
    with answering(), connect(url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    known = known_revisions()
    at = str(row[0]) if row else "0"
    if at != known[-1] and (at in known or row is None):
        raise Unavailable(problem("schema-older", at=at, needed=known[-1]), why="not-migrated")
