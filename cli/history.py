"""How does an operator look back at one tenant?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from adapters.past import Moment
from cli.look import MOMENT_HELP, TenantArgument, tell_at
from cli.output import AsJson, DataDir, command, out, print_json, running_parts, table
from history.as_of import differences
from history.story import clock
from runtime.bootstrap import utc_now


@command
def diff(
    tenant: TenantArgument,
    from_: Annotated[str, typer.Option("--from", metavar="TIME|POSITION", help=MOMENT_HELP)],
    to: Annotated[str, typer.Option("--to", metavar="TIME|POSITION", help=MOMENT_HELP)],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what of a tenant differs between two moments: wanted, actual and the read models."""
    with running_parts(data_dir) as parts:
        now = utc_now()
        moments = [parts.past.at(said, now=now) for said in (from_, to)]
        before, after = (tell_at(parts, tenant, moment) for moment in moments)
    found = differences(before, after)
    if as_json:
        changes = [{"where": where, "before": old, "after": new} for where, old, new in found]
        print_json({"tenant_id": tenant, "from": _told(moments[0]), "to": _told(moments[1]), "changes": changes})
    elif found:
        out.print(table(f"tenant {tenant}", ("where", *(map(_said, moments))), found))
    else:
        out.print(f"nothing of tenant {tenant} differs between {_said(moments[0])} and {_said(moments[1])}")


def _told(moment: Moment) -> dict[str, Any]:
    return {"position": moment.position, "time": moment.time}


def _said(moment: Moment) -> str:
    return f"{clock(moment.time)} (position {moment.position})"
