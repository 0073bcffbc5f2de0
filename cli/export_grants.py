"""Export grants at the terminal: `access grant-export`, `access revoke-export`, `access exports`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from adapters.postgres.past import time_of
from cli.command import command
from cli.operators import By, Reason
from cli.output import Report, table
from domain import export_grants, names
from domain.errors import UsageError, problem
from domain.export_grants import ExportGrant, ExportGranted, Grantee, What
from domain.operator import Operator
from domain.times import in_utc
from runtime.compose import Parts
from runtime.compose.operators import export_grants_of
from runtime.compose.process import new_id, utc_now

BYTES_A_ROW = 4_096


@command
def grant_export(
    parts: Parts,
    grantee: Annotated[str, typer.Argument(help="The service, by the issuer of its tokens; an operator as user@host.")],
    reason: Reason,
    what: Annotated[str, typer.Option(help="The kind of data; the log is `audit-log`.")],
    rows: Annotated[int, typer.Option(min=1, max=export_grants.LARGEST, help="So many rows at most.")],
    until: Annotated[str, typer.Option(metavar="TIME", help="The end of the grant: a time with its zone, or a day.")],
    size: Annotated[
        int | None,
        typer.Option(
            "--bytes", min=1, max=export_grants.LARGEST, help="So many bytes at most.", show_default="4 KiB a row"
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.", show_default="of all tenants")] = None,
    by: By = "",
) -> Report:
    """Let a service or an operator export so many rows and bytes until then. Prints the id of the grant."""
    grant_id = f"x-{new_id().hex[-12:]}"
    given = ((Grantee, grantee), (What, what), (names.TenantId | None, tenant))
    if not all(names.fits(kind, text) for kind, text in given):
        raise UsageError(problem("export-grant-malformed", grantee=grantee, what=what, tenant=tenant))
    event = ExportGranted(
        grant_id=grant_id,
        grantee=grantee,
        what=what,
        tenant_id=tenant,
        rows=rows,
        bytes=size or min(rows * BYTES_A_ROW, export_grants.LARGEST),
        until=time_of(until),
        operator=by,
        reason=reason,
    )
    export_grants_of(parts).record(partial(export_grants.grant, event=event, now=utc_now()), by=Operator.parse(by))
    data = {"grant_id": grant_id, "rows": event.rows, "bytes": event.bytes, "until": in_utc(event.until)}
    whose = f"tenant {tenant}" if tenant else "all tenants"
    return Report(
        data,
        [f"{grant_id}: {grantee} may export {rows} rows ({event.bytes} bytes) of {what}, {whose}, until {event.until}"],
    )


@command
def revoke_export(
    parts: Parts,
    grant_id: Annotated[str, typer.Argument(metavar="GRANT", help="As `access exports` prints it.")],
    reason: Reason,
    by: By = "",
) -> Report:
    """Revoke a grant for good: no further chunk is given of it."""
    export_grants_of(parts).record(
        partial(export_grants.revoke, grant_id=grant_id, operator=by, reason=reason), by=Operator.parse(by)
    )
    return Report({"grant_id": grant_id, "state": "revoked"}, [f"{grant_id} is revoked"])


@command
def exports(parts: Parts) -> Report:
    """List all grants with what is spent of each, by whom they were given, and why."""
    grants = export_grants_of(parts)
    rows = [_to_dict(each, *grants.budgets.spent(each.granted.grant_id)) for each in grants.all().values()]
    shown = [[row[name] for name in _SHOWN] for row in rows]
    return Report(rows, [table("Export grants", _SHOWN, shown)])


_SHOWN = (
    "grant_id",
    "state",
    "grantee",
    "what",
    "tenant_id",
    "rows_spent",
    "rows",
    "bytes_spent",
    "bytes",
    "until",
    "reason",
)


def _to_dict(grant: ExportGrant, rows: int, size: int) -> dict[str, object]:
    event = grant.granted
    return {
        "grant_id": event.grant_id,
        "state": grant.state(utc_now()),
        "grantee": event.grantee,
        "what": event.what,
        "tenant_id": event.tenant_id,
        "rows_spent": rows,
        "rows": event.rows,
        "bytes_spent": size,
        "bytes": event.bytes,
        "until": event.until,
        "reason": event.reason,
        "granted_at": grant.granted_at,
        "granted_by": event.operator,
        "revoked_at": grant.revoked_at,
        "revoked_by": grant.revoked_by,
        "revoked_reason": grant.revoked_reason,
    }
