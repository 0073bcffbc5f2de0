"""List of tenants, with the levels of their products and the state of the saga."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from adapters.postgres import overview
from cli.command import command
from cli.output import Report, Table, perhaps_more, table
from domain.scope.states import ScopeState
from runtime.compose.process import Process


@command
def tenants(
    parts: Process,
    level: Annotated[
        Literal["open", "closed", "retained", "absent"] | None,
        typer.Option(help="Only tenants with a product at this level."),
    ] = None,
    state: Annotated[
        ScopeState | None,
        typer.Option(help="Only tenants in this state (the worst state of their scopes)."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 1000,
) -> Report:
    """List tenants with the levels of their products and the state of the saga."""
    rows = overview.tenants(parts.endpoints.database_url, level=level, state=state, limit=limit)
    return Report(rows, _tenants(rows, limit))


def _tenants(rows: list[dict[str, Any]], limit: int) -> Iterator[str | Table]:
    cells = [
        (
            row["tenant_id"],
            row["site_name"],
            row["access"],
            ", ".join(f"{key} {at}" for key, at in sorted(row["products"].items())),
            row["state"],
        )
        for row in rows
    ]
    yield table(f"{len(rows)} tenants", ("tenant", "site", "access", "products", "state"), cells)
    yield from perhaps_more(rows, limit)
