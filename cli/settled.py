"""Is every scope as it should be, or due, or waiting for something with a name?"""

from __future__ import annotations

from typing import Annotated

import typer

from application.unsettled_scopes import Unsettled
from cli.output import AsJson, DataDir, command, err, out, print_json, running_parts
from cli.show import snapshot_of
from runtime.compose.resources import reconciling_of


@command
def scopes(
    tenant: Annotated[str | None, typer.Option(metavar="TENANT", help="Only this tenant.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Find scopes that are neither as they should be, nor due, nor waiting for something named. Exit 1: some are.

    Nothing is changed: `tenantry reconcile` makes them due.
    """
    found: list[Unsettled] = []
    count = 0
    with running_parts(data_dir) as parts:
        if tenant is not None:
            snapshot_of(parts, tenant)
        for page in reconciling_of(parts).audit(tenant):
            count += page.scopes
            found += page.unsettled
            if not as_json:
                err.print(f"looked at {count} scopes: {len(found)} are left alone", highlight=False)
    if as_json:
        print_json({"scopes": count, "unsettled": [{"scope": str(each.scope), "said": each.said} for each in found]})
    else:
        for each in found:
            _line(f"{each.scope}  {each.said}")
        if found:
            _line("`tenantry reconcile` makes them due, but for those that no adopted configuration knows")
        else:
            _line(f"{count} scopes: each is as it should be, or due, or waits for something named")
    if found:
        raise typer.Exit(1)


def _line(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
