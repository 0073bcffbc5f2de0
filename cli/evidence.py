"""Evidence pack: explanation, timeline and proofs of a tenant in one file, verified offline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command
from cli.operators import By, WhyShown
from cli.output import Aside, Report
from cli.persons import PERSONAL, Persons, record_shown
from cli.scopes import TenantArgument
from domain.errors import UsageError, problem
from runtime.compose import Parts
from runtime.reports.evidence import evidence_of


@command
def evidence(
    parts: Parts,
    tenant: TenantArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="It must not exist yet.", show_default="evidence-TENANT.zip")
    ] = None,
    persons: Persons = False,
    reason: WhyShown = None,
    by: By = "",
) -> Report:
    """Write all that the sealed log has of a tenant into one file: events with proofs, explanation, timeline, key.

    The verify.py in it verifies the file without Tenantry. Persons stay encrypted, unless --persons asks for them.
    """
    path = out or Path(f"evidence-{tenant}.zip")
    found = evidence_of(parts, tenant, persons=tuple(PERSONAL) if persons else ())
    if persons:
        record_shown(parts, tenant, what="evidence", reason=reason, by=by)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(found.content)
    except OSError as error:
        raise UsageError(problem("evidence-unwritable", path=path, reason=error.strerror)) from None
    data = {
        "tenant_id": tenant,
        "path": str(path),
        "events": found.events,
        "size": found.size,
        "position": found.position,
        "not_sealed": found.not_sealed,
        "persons": persons,
    }
    text = [
        f"{found.events} events of tenant {tenant}, up to position {found.position}, with their proofs, in {path}",
        f"verify it anywhere: `unzip {path} verify.py`, then `python verify.py {path} KEY` with the key that you trust",
    ]
    missing = f"{found.not_sealed} later events are not sealed yet: `tenantry audit seal`, then again"
    return Report(data, text, [Aside(missing)] if found.not_sealed else ())
