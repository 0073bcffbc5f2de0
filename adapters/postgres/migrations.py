"""Migrations: the check that the database has the tables of this version, and the scripts that make them.

The scripts lie in `alembic/` of a checkout, and in the wheel as `tenantry_migrations`: as `alembic/` they
would be written into the library's own folder. There is no alembic.ini; its settings are here.

A migration is one transaction with an advisory lock in it: of two at once the second waits, and finds nothing
left to do. One that fails has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, func, select

from adapters.postgres.connection import LONG
from adapters.postgres.engine import engine
from adapters.postgres.errors import answering
from domain.errors import UsageError, problem

_LOCK: Final = 0x74656E616E747279  # "tenantry"; advisory locks are each database's own


def migrate(url: str, *, revision: str = "head") -> None:
    """Bring the database up to `revision`.

    Raises Unavailable where it does not answer, and UsageError where a revision is unknown: the one that is
    asked for, or the one that the database is at, which a newer version made.
    """
    _run(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Take the database down to `revision` (`base`: to nothing). The content of the tables is lost."""
    _run(url, lambda config: command.downgrade(config, revision))


def current(url: str) -> str | None:
    """The revision that the database is at; None where it was never migrated."""
    with _connection(url) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The revision that this version needs."""
    [newest] = ScriptDirectory.from_config(_config()).get_heads()
    return newest


def _run(url: str, act: Callable[[Config], None]) -> None:
    with _connection(url) as connection:
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        config = _config()
        config.attributes["connection"] = connection
        try:
            act(config)
        except CommandError as error:
            raise UsageError(problem("migration-impossible", reason=error)) from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> Path:
    """In a wheel the folder beside us that is called `alembic` is the library."""
    beside = Path(__file__).resolve().parents[2]
    installed = beside / "tenantry_migrations"
    return installed if installed.is_dir() else beside / "alembic"


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    """A connection of its own in a transaction, committed at the end."""
    # libpq reads the URL, not SQLAlchemy: whatever psql takes will do.
    with answering(), engine(url, pool_size=0, limits=LONG).begin() as connection:
        yield connection
