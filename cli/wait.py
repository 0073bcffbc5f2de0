"""Wait for a tenant: until its products have converged at a level, for scripts that go on then."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from adapters.postgres import overview
from cli.command import command
from cli.output import Report, warn
from cli.scopes import TenantArgument
from domain.errors import Unavailable
from domain.scope.steps import Level
from runtime.compose.process import Process

LOOK_SECONDS: Final = 0.25


@command
def wait(
    parts: Process,
    tenant: TenantArgument,
    until: Annotated[Level, typer.Option(help="The level that is waited for.")] = "open",
    product: Annotated[str | None, typer.Option(metavar="PRODUCT", help="Only this product; else all of them.")] = None,
    seconds: Annotated[float, typer.Option("--for", min=0, max=86_400, help="Give up after so many seconds.")] = 300.0,
) -> Report:
    """Wait until all products of a tenant, or one, have converged at a level. Exit 1: not within the time.

    A tenant that is not there yet is waited for as well, and so is a database that goes away meanwhile. A product that
    needs an operator is named.
    """
    deadline = time.monotonic() + seconds
    rows = _look(parts, tenant, product)
    is_away = False
    while True:
        missing = [row for row in rows if row["level"] != until or row["state"] != "converged"]
        if rows and not missing:
            return _report(tenant, until, rows, f"{tenant} is {until}", good=True)
        if time.monotonic() >= deadline:
            return _report(tenant, until, rows, _why(tenant, until, missing, seconds), good=False)
        time.sleep(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
        try:
            rows, is_away = _look(parts, tenant, product), False
        except Unavailable as error:
            if time.monotonic() >= deadline:
                raise
            if not is_away:
                warn(f"{error}; waiting on")
            is_away = True


def _look(parts: Process, tenant: str, product: str | None) -> list[dict[str, Any]]:
    """The tenant's products, or that one. Raises Unavailable."""
    return [
        row
        for row in overview.runs(parts.endpoints.database_url, tenant_id=tenant, limit=10_000)
        if row["kind"] == "product" and product in (None, row["key"])
    ]


def _report(tenant: str, until: Level, rows: list[dict[str, Any]], line: str, *, good: bool) -> Report:
    products = {row["key"]: {"level": row["level"], "state": row["state"], "reason": row["reason"]} for row in rows}
    return Report({"tenant_id": tenant, "until": until, "reached": good, "products": products}, [line], good=good)


def _why(tenant: str, until: Level, missing: list[dict[str, Any]], seconds: float) -> str:
    if not missing:
        return f"{tenant} has no such product after {seconds:g} s: see `tenantry show {tenant}`, `tenantry waiting`"
    each = ", ".join(
        f"{row['key']} is {row['level']}, {row['state'].replace('_', ' ')}"
        + (f" ({row['reason']})" if row["reason"] else "")
        for row in missing
    )
    return f"{tenant} is not {until} after {seconds:g} s: {each}: see `tenantry explain {tenant}`"
