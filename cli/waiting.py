"""Backlog: messages whose tenant was never created, for an operator who asks their producers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from adapters.postgres import overview
from cli.command import command
from cli.output import Report, Table, perhaps_more, table
from domain.times import age
from runtime.compose.process import Process

app = typer.Typer(
    help="Messages that wait for their tenant to be created: list.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def waiting() -> None:
    """Messages that wait for their tenant to be created."""


@app.command("list")
@command
def list_(
    parts: Process,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many tenants.")] = 1000,
) -> Report:
    """List the tenants that messages wait for, the longest first, with the producers to ask."""
    rows = overview.waiting(parts.endpoints.database_url, limit=limit)
    return Report(rows, _waiting(rows, limit))


def _waiting(rows: list[dict[str, Any]], limit: int) -> Iterator[str | Table]:
    cells = [
        (
            row["tenant_id"],
            row["messages"],
            ", ".join(row["sources"]),
            ", ".join(row["types"]),
            age(row["oldest_seconds"]),
            age(row["newest_seconds"]),
        )
        for row in rows
    ]
    columns = ("tenant", "messages", "producers", "types", "oldest", "newest")
    yield table(f"messages wait for {len(rows)} tenants", columns, cells)
    if rows:
        yield "each message waits until its tenant.created comes: ask the producers; see `tenantry timeline TENANT`"
    yield from perhaps_more(rows, limit)
