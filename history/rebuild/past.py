"""Read models as of a past moment, built beside the live ones.

    reserve ─▶ as_of_xxxxxxxx, empty ─▶ load up to the position, by workers ─▶ analyze ─▶ take the name

The load is that of a rebuild, into a schema with a name that is never used again, so that a worker of a killed run
finds no table to write into. One transaction gives the schema its final name; an older schema of that name is dropped
if Tenantry created it. The comment of a schema marks it as created by Tenantry, and only its tables that Tenantry
created are dropped: if another view depends on them, or another table is in the schema, everything stays as it is.

An error before that transaction leaves the older schema as it was. The next run into the same schema drops the remains
of a killed run. The live generations are never touched.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import DBAPIError

from adapters.postgres.past import Moment
from domain.errors import TenantryError, Unavailable, UsageError, problem
from history.rebuild import generations
from history.rebuild.loading import LoadProgress, Sources
from history.rebuild.parallel_load import first_line, load_together
from projections.base import METADATA, Projection

MARK: Final = "tenantry: "
"""The beginning of the comment of a schema that Tenantry created."""

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_RESERVED: Final = re.compile(r"public|information_schema|pg_.*|rebuild_.*|previous_.*|as_of_[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Built:
    """The result. `events` is the number of events that were read and decoded for all read models together."""

    schema: str
    names: tuple[str, ...]
    moment: Moment
    events: int
    seconds: float

    @property
    def rate(self) -> float:
        """Events a second, from the first to the last."""
        return self.events / self.seconds if self.seconds else 0.0


def build(
    sources: Sources,
    moment: Moment,
    *,
    into: str,
    only: Sequence[str] = (),
    workers: int = 1,
    say: Callable[[LoadProgress], None] = lambda _: None,
) -> Built:
    """Build read models (`only` those, or all) as they were at the moment in the schema `into`.

    Raises UsageError where Tenantry did not create the schema or it is being built already, TenantryError where a
    handler fails.
    """
    started = time.monotonic()
    chosen = _chosen(sources.read_models(), only)
    schema = _schema_name(into)
    engine = sources.engine()
    try:
        with engine.connect() as connection, _reserved(connection, chosen, schema) as building:
            schemas = dict.fromkeys((each.name for each in chosen), building)
            loaded = load_together(sources, schemas, moment.position, workers=workers, say=say)
            if loaded.failures:
                raise TenantryError(
                    problem("schema-failed", failures="; ".join(loaded.failures.values()), schema=schema)
                )
            with connection.begin():
                for each in chosen:
                    generations.analyze(connection, each, building)
            with connection.begin():
                connection.execute(text("SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '30s'"))
                _drop_ours(connection, schema)
                connection.execute(text(f"ALTER SCHEMA {_quote(building)} RENAME TO {_quote(schema)}"))
                names = ", ".join(each.name for each in chosen)
                _say_whose(connection, schema, f"{names} as of position {moment.position}, {moment.time.isoformat()}")
    except DBAPIError as error:
        raise Unavailable(problem("schema-broken-off", schema=schema, reason=first_line(error))) from error
    finally:
        engine.dispose()
    seconds = time.monotonic() - started
    return Built(schema, tuple(each.name for each in chosen), moment, loaded.events, seconds)


def _chosen(models: Sequence[Projection], only: Sequence[str]) -> list[Projection]:
    known = {each.name: each for each in models}
    for name in only:
        if name not in known:
            raise UsageError(problem("read-model-unknown", name=name, known=", ".join(sorted(known))))
    return [known[name] for name in dict.fromkeys(only or known)]


def _schema_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(problem("schema-name-malformed", name=f"{name!r}"))
    if _RESERVED.fullmatch(name):
        raise UsageError(problem("schema-name-reserved", name=name))
    return name


# -- the schema ----------------------------------------------------------------------------------------------------


@contextmanager
def _reserved(connection: Connection, chosen: Sequence[Projection], schema: str) -> Iterator[str]:
    """An empty schema with the tables, to be renamed; dropped where it was not."""
    with connection.begin():
        if not generations.reserve(connection, f"as of: {schema}"):
            raise UsageError(problem("schema-being-built", schema=schema))
        whose = _comment_of(connection, schema)
        if whose is not None and not whose.startswith(MARK):
            raise UsageError(problem("schema-not-ours", schema=schema))
        for left in _left_by_killed_runs(connection, schema):
            generations.abandon(connection, left)
    building = f"as_of_{secrets.token_hex(4)}"
    try:
        with connection.begin():
            connection.execute(text(f"CREATE SCHEMA {_quote(building)}"))
            _say_whose(connection, building, _for(schema))
            connection.execution_options(schema_translate_map={None: building})
            METADATA.create_all(connection, tables=[*_tables(chosen), *generations.views_of(connection, chosen)])
            connection.execution_options(schema_translate_map={})
        yield building
    finally:
        with suppress(DBAPIError, Unavailable), connection.begin():  # renamed, there is none of that name any more
            generations.abandon(connection, building)


def _drop_ours(connection: Connection, schema: str) -> None:
    """Drop the old schema. Raises UsageError where it has a table or view that Tenantry did not create."""
    whose = _comment_of(connection, schema)
    if whose is None:
        return
    if not whose.startswith(MARK):
        raise UsageError(problem("schema-not-ours", schema=schema))
    try:
        generations.drop_things(connection, schema, among=METADATA.tables)
    except generations.InUse as error:
        raise UsageError(problem("schema-in-use", schema=schema, reason=error)) from error


def _comment_of(connection: Connection, schema: str) -> str | None:
    """The comment of the schema; None where there is no such schema."""
    comment = connection.execute(
        text("SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = :name"),
        {"name": schema},
    ).scalar()
    return None if comment is None else str(comment)


def _left_by_killed_runs(connection: Connection, schema: str) -> list[str]:
    names = connection.execute(
        text(
            "SELECT nspname FROM pg_namespace WHERE nspname ~ '^as_of_[0-9a-f]{8}$'"
            " AND obj_description(oid, 'pg_namespace') = :comment"
        ),
        {"comment": MARK + _for(schema)},
    )
    return [str(name) for name in names.scalars()]


def _for(schema: str) -> str:
    return f"being built for {schema}"


def _say_whose(connection: Connection, schema: str, what: str) -> None:
    statement = text("SELECT format('COMMENT ON SCHEMA %I IS %L', CAST(:schema AS text), CAST(:comment AS text))")
    statement = connection.execute(statement, {"schema": schema, "comment": MARK + what}).scalar_one()
    connection.exec_driver_sql(statement.replace("%", "%%"))


def _tables(chosen: Sequence[Projection]) -> list[Table]:
    return [table for each in chosen for table in each.tables]


_quote = generations.quote
