"""What should be in the read models, and what is?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg
from sqlalchemy import NullPool, create_engine

from domain.event import Recorded
from projections import INTEGRATION, PROJECTIONS
from projections.base import Change, Projection, Set, storable
from tests.projections.given import Model, changes_of, one_by_one
from tests.projections.test_base import without_empty
from tests.projections.test_postgresql import padded, stored

EVERY = (*PROJECTIONS, INTEGRATION)


def expected(facts: Iterable[Recorded], projections: Sequence[Projection] = EVERY) -> Model:
    """The rows that the facts, one by one, would leave."""
    facts = list(facts)
    model: Model = {}
    for projection in projections:
        model |= padded(one_by_one(_storable(change) for change in changes_of(projection, facts)))
    return without_empty(model)


def found(url: str, projections: Sequence[Projection] = EVERY) -> Model:
    """The rows that are there."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    with engine.connect() as connection:
        return without_empty(stored(connection, [table for each in projections for table in each.tables]))


def found_in(url: str, schema: str, projections: Sequence[Projection] = EVERY) -> Model:
    """The rows that are there in a schema beside the live one."""
    options = f"-c search_path={schema}"
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url, options=options), poolclass=NullPool
    )
    with engine.connect() as connection:
        return without_empty(stored(connection, [table for each in projections for table in each.tables]))


def schemas(url: str) -> set[str]:
    """The generations beside the live one."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^(rebuild|previous)_'").fetchall()
    return {name for (name,) in rows}


def _storable(change: Change) -> Change:
    if isinstance(change, Set):
        return Set(change.table, change.key, {name: storable(value) for name, value in change.columns.items()})
    return change
