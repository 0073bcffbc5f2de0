"""Export grants: who may read how much in bulk, what, until when and why, each given and revoked by an operator.

    export-grants:    ExportGranted, ExportGrantRevoked: one stream for all grants, which are few

Access lets a caller read one thing after the other; to take away many at once needs a grant beside it. How much of a
grant is used up lies beside the log (application/ports/export_budgets.py): it changes with each thousand rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, ClassVar, Final

from pydantic import Field, StringConstraints

from domain import names
from domain.errors import UsageError, problem
from domain.event import Event, Recorded

STREAM: Final = "export-grants:"
LARGEST: Final = 10**15

GrantId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}\z")]
What = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.-]{0,62}\z")]
"""The kind of data, by the name that the exporting program gives it."""

Grantee = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,256}\z")]
"""A service by the issuer of its tokens, or an operator as `user@host`."""

Amount = Annotated[int, Field(ge=1, le=LARGEST)]


class ExportGranted(Event):
    """A caller may export so much until then. No `tenant_id`: of all tenants."""

    TOPIC: ClassVar[str] = "tenantry.export-granted"
    grant_id: GrantId
    grantee: Grantee
    what: What
    tenant_id: names.TenantId | None = None
    rows: Amount
    bytes: Amount
    until: datetime
    operator: str
    reason: names.Reason


class ExportGrantRevoked(Event):
    """A grant counts no longer, for good."""

    TOPIC: ClassVar[str] = "tenantry.export-grant-revoked"
    grant_id: GrantId
    operator: str
    reason: names.Reason


@dataclass(frozen=True, slots=True)
class ExportGrant:
    """A grant as the log has it."""

    granted: ExportGranted
    granted_at: datetime
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    revoked_reason: str | None = None

    def state(self, now: datetime) -> str:
        """`in force`, `over` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "in force" if now < self.granted.until else "over"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Who wants to export what, under which grant."""

    grant_id: str
    grantee: str
    what: str
    tenant_id: str | None


def grants_of(events: Iterable[Recorded]) -> Mapping[str, ExportGrant]:
    """The grants by their ids, in the order in which they were given."""
    grants: dict[str, ExportGrant] = {}
    for recorded in events:
        match recorded.event:
            case ExportGranted() as event:
                grants[event.grant_id] = ExportGrant(event, recorded.time)
            case ExportGrantRevoked() as event:
                grants[event.grant_id] = replace(
                    grants[event.grant_id],
                    revoked_at=recorded.time,
                    revoked_by=event.operator,
                    revoked_reason=event.reason,
                )
            case _:
                raise AssertionError(f"{recorded.event.TOPIC} is no event of an export grant")
    return grants


def grant(grants: Mapping[str, ExportGrant], event: ExportGranted, *, now: datetime) -> ExportGranted:
    """Raises UsageError where the grant would never count."""
    if event.until <= now:
        raise UsageError(problem("export-grant-ended", until=event.until))
    assert event.grant_id not in grants, "ids are drawn anew for each grant"
    return event


def revoke(grants: Mapping[str, ExportGrant], grant_id: str, *, operator: str, reason: str) -> ExportGrantRevoked:
    """Raises UsageError where there is no such grant, or it was revoked."""
    found = grants.get(grant_id)
    if found is None:
        raise UsageError(problem("export-grant-unknown", grant=grant_id))
    if found.revoked_at is not None:
        raise UsageError(problem("export-grant-revoked", grant=grant_id, by=found.revoked_by))
    return ExportGrantRevoked(grant_id=grant_id, operator=operator, reason=reason)


def granted(grants: Mapping[str, ExportGrant], request: ExportRequest, *, now: datetime) -> ExportGranted:
    """The grant that covers the request. Raises UsageError."""
    found = grants.get(request.grant_id)
    if found is None or found.granted.grantee != request.grantee:  # another's grant looks like none
        raise UsageError(problem("export-grant-unknown", grant=request.grant_id))
    event = found.granted
    if found.revoked_at is not None:
        raise UsageError(problem("export-grant-revoked", grant=request.grant_id, by=found.revoked_by))
    if now >= event.until:
        raise UsageError(problem("export-grant-over", grant=request.grant_id, until=event.until))
    if event.what != request.what:
        raise UsageError(problem("export-grant-for-other-data", grant=request.grant_id, what=event.what))
    if event.tenant_id not in (None, request.tenant_id):
        raise UsageError(problem("export-grant-for-other-tenant", grant=request.grant_id, tenant=event.tenant_id))
    return event
