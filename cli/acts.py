"""How does an operator change what becomes of a tenant?"""

from __future__ import annotations

from cli.look import TenantArgument, estate_of
from cli.operators import As, Reason, who, why
from cli.output import AsJson, DataDir, command, out, print_json, running_parts


@command
def restore(
    tenant: TenantArgument,
    reason: Reason,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Undo the destruction of a tenant before its purge begins: everything is as it was, and opens again."""
    because, by = why(reason), who(as_name)
    with running_parts(data_dir) as parts:
        estate_of(parts, tenant)
        event = parts.operating.restore(tenant, reason=because, by=by)
    if as_json:
        print_json({"tenant_id": tenant, "outcome": "restored", "undoes": event.undoes})
    else:
        out.print(f"tenant {tenant} is restored; see `tenantry show {tenant}`")
