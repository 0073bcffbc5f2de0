"""SQLAlchemy engine over the connection factory: for read models and migrations, and imported by these alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.engine import ExceptionContext

from adapters.postgres.connection import SHORT, Limits, connect
from adapters.postgres.errors import translated
from domain.errors import Contended, Unavailable


def engine(url: str, *, pool_size: int, limits: Limits = SHORT, settings: Mapping[str, str] | None = None) -> Engine:
    """Connections of the factory for SQLAlchemy; of size 0 it keeps none.

    What may pass is raised as Unavailable, and its connection is not used again; what is wrong with a statement or its
    rows stays SQLAlchemy's, for the caller that looks for the row.
    """
    kept: dict[str, Any] = {"pool_size": pool_size} if pool_size else {"poolclass": NullPool}

    def creator() -> psycopg.Connection[Any]:
        return connect(url, limits=limits, settings=settings)

    made = create_engine("postgresql+psycopg://", creator=creator, **kept)
    event.listen(made, "handle_error", _what_may_pass)
    return made


def _what_may_pass(context: ExceptionContext) -> None:
    if not isinstance(context.original_exception, psycopg.Error):
        return
    ours = translated(context.original_exception)
    if isinstance(ours, Unavailable):
        if not isinstance(ours, Contended):
            context.is_disconnect = True
        raise ours
