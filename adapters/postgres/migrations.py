"""Migrations: the check that the database has the tables of this version, and the scripts that make them.

The scripts lie in `alembic/` of a checkout, and in the wheel as `tenantry_migrations`: as `alembic/` they
would be written into the library's own folder. There is no alembic.ini; its settings are here.

A migration is one transaction with an advisory lock in it: of two at once the second waits, and finds nothing
left to do. One that fails has changed nothing.

Workers of the version before are at work meanwhile. A lock that they hold is waited for shortly, since all that ask for
the same table queue up behind us; then everything is taken back and tried again, as after a deadlock. And what a
migration does must not hurt them: it only adds. One that takes away (a table, a column, a default) says so:

    contracts = "0021"    # below its revision: every live worker must know this revision, or newer

It is refused while a worker is live that does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, func, select, text

from adapters.postgres.connection import LONG
from adapters.postgres.engine import engine
from adapters.postgres.errors import answering
from adapters.postgres.live_workers import HEARTBEAT_TIMEOUT_SECONDS
from adapters.postgres.schema_revision import SCHEMA, scripts
from domain.errors import Contended, UsageError, problem

_LOCK: Final = 0x74656E616E747279  # "tenantry"; advisory locks are each database's own

LOCK_SECONDS: Final = 2.0
"""How long one lock is waited for at most: for so long appends and claims may have to wait as well."""

PATIENCE_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 1.0
"""For how long a migration that others hold up is tried again, and the pause before, in which they go on."""


def migrate(url: str, *, revision: str = "head") -> None:
    """Bring the database up to `revision`.

    Raises Unavailable where it does not answer, and UsageError where a revision is unknown: the one that is
    asked for, or the one that the database is at, which a newer version made.
    """

    def act(connection: Connection, config: Config) -> None:
        expect_no_need(connection, _between(config, MigrationContext.configure(connection), revision))
        command.upgrade(config, revision)

    _run(url, act)


def downgrade(url: str, revision: str) -> None:
    """Take the database down to `revision` (`base`: to nothing). The content of the tables is lost."""
    _run(url, lambda _, config: command.downgrade(config, revision))


def current(url: str) -> str | None:
    """The revision that the database is at; None where it was never migrated."""
    with _connection(url) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The revision that this version needs."""
    [newest] = ScriptDirectory.from_config(_config()).get_heads()
    return newest


def _run(url: str, act: Callable[[Connection, Config], None]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _attempt(url, act)
        except Contended:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def _attempt(url: str, act: Callable[[Connection, Config], None]) -> None:
    with _connection(url) as connection:
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        config = _config()
        config.attributes["connection"] = connection
        try:
            act(connection, config)
        except CommandError as error:
            raise UsageError(problem("migration-impossible", reason=error)) from error


def _between(config: Config, at: MigrationContext, revision: str) -> Iterable[Script]:
    """The scripts that lead from where the database is to the revision; none of a database that nobody uses yet."""
    current = at.get_current_revision() or head()
    walked = ScriptDirectory.from_config(config).walk_revisions()
    return [each for each in walked if current < each.revision <= (head() if revision == "head" else revision)]


def expect_no_need(connection: Connection, pending: Iterable[Script]) -> None:
    """UsageError where one of the scripts takes away what a live worker needs."""
    for script in pending:
        if (needed := getattr(script.module, "contracts", None)) is None:
            continue
        row = connection.execute(
            text(
                "SELECT name, known FROM workers, coalesce((to_jsonb(workers) -> 'reads' ->> :schema)::int, 0) AS known"
                " WHERE seen_at > now() - make_interval(secs => :seconds) AND known < :needed ORDER BY name LIMIT 1"
            ),
            {"schema": SCHEMA, "seconds": HEARTBEAT_TIMEOUT_SECONDS, "needed": int(needed)},
        ).first()
        if row is not None:
            name, known = row
            raise UsageError(
                problem(
                    "schema-needed",
                    revision=script.revision,
                    worker=name,
                    known=f"{known:04}" if known else "unknown",
                    needed=needed,
                )
            )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    """A connection of its own in a transaction, committed at the end."""
    # libpq reads the URL, not SQLAlchemy: whatever psql takes will do.
    limits = replace(LONG, lock=LOCK_SECONDS)
    with answering(), engine(url, pool_size=0, limits=limits).begin() as connection:
        yield connection
