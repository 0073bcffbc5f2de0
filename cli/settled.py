"""Is every scope as it should be, or due, or waiting for something with a name?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from application.unsettled_scopes import Unsettled
from cli.command import command
from cli.output import Aside, Report
from cli.show import snapshot_of
from runtime.compose import Parts
from runtime.compose.resources import reconciling_of


@command
def scopes(
    parts: Parts, tenant: Annotated[str | None, typer.Option(metavar="TENANT", help="Only this tenant.")] = None
) -> Iterator[Report]:
    """Find scopes that are neither as they should be, nor due, nor waiting for something named. Exit 1: some are.

    Nothing is changed: `tenantry reconcile` makes them due.
    """
    found: list[Unsettled] = []
    count = 0
    if tenant is not None:
        snapshot_of(parts, tenant)
    for page in reconciling_of(parts).audit(tenant):
        count += page.scopes
        found += page.unsettled
        yield Report(text=[Aside(f"looked at {count} scopes: {len(found)} are left alone")])
    told = {"scopes": count, "unsettled": [{"scope": str(each.scope), "said": each.said} for each in found]}
    text = [f"{each.scope}  {each.said}" for each in found]
    last = f"{count} scopes: each is as it should be, or due, or waits for something named"
    if found:
        last = "`tenantry reconcile` makes them due, but for those that no adopted configuration knows"
    yield Report(told, [*text, last], good=not found)
