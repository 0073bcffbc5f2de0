"""How does an operator change what becomes of a tenant?"""

from __future__ import annotations

import getpass
import socket
from typing import Annotated

import typer

from cli.look import TenantArgument, estate_of
from cli.output import AsJson, DataDir, command, out, print_json, running_parts
from domain.errors import UsageError


@command
def restore(
    tenant: TenantArgument,
    reason: Annotated[
        str, typer.Option(help="Why the destruction is undone; kept in the tenant's log, with your name.")
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Undo the destruction of a tenant within its restore window: everything is as it was, and opens again."""
    if not reason.strip():
        raise UsageError("--reason is empty: say why the destruction is undone")
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    with running_parts(data_dir) as parts:
        estate_of(parts, tenant)
        event = parts.operator.restore(tenant, reason=reason, by=by)
    if as_json:
        print_json({"tenant_id": tenant, "outcome": "restored", "undoes": event.undoes})
    else:
        out.print(f"tenant {tenant} is restored; see `tenantry show {tenant}`")
