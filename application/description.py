"""Description of a tenant, for people and for programs.

Plain JSON-able values: what commerce wants, register by register; what is actual, scope by scope; and for each product
the seven steps, joined from the scopes that own them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from application.problem_texts import sentence
from domain.catalog import Catalog
from domain.errors import problem
from domain.policy import Policy
from domain.registers import Register
from domain.scope.desired import DesiredState, desired_state, licensed_access
from domain.scope.next_action import database_of
from domain.scope.purges import data_lost
from domain.scope.snapshot import TenantSnapshot, scopes_of
from domain.scope.state import Provisioning
from domain.scope.status import status_of
from domain.scope.steps import Scope, Step
from domain.tenant.state import PendingChange, Tenant
from domain.times import in_utc

Json = dict[str, Any]

STEP_NAMES: dict[Step, str] = {step: step.name.lower() for step in Step}


def describe(snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime) -> Json:
    """`{"tenant_id", "desired_state", "actual"}` of a tenant."""
    return {
        "tenant_id": snapshot.tenant.id,
        "desired_state": describe_desired(snapshot.tenant, catalog=catalog, now=now),
        "actual": describe_actual(snapshot, catalog=catalog, policy=policy, now=now),
    }


# -- desired -------------------------------------------------------------------------------------------------------


def describe_desired(tenant: Tenant, *, catalog: Catalog, now: datetime) -> Json:
    """The registers, and what they come to: the desired level `open`, `closed` or `gone` of each product."""
    attributes = tenant.attributes
    return {
        "tenant": {
            "attributes": attributes
            and {
                "value": {
                    name: value
                    for name in ("customer_id", "site_name", "residency", "region")
                    if (value := getattr(attributes.value, name)) is not None
                },
                "revision": attributes.revision,
            },
            "destroyed": tenant.destroyed is not None,
            **({"purged": tenant.purge.over} if tenant.purge else {}),
            **(
                {"awaiting_approval": [_pending_change(pending) for pending in tenant.pending]}
                if tenant.pending
                else {}
            ),
        },
        "products": {
            key: {
                "presence": _state(registers.presence),
                "access": _state(registers.access),
                "license": registers.license
                and {
                    "value": {
                        "edition": registers.license.value.edition,
                        "users": registers.license.value.users,
                        "status": registers.license.value.status,
                        "expires_at": _time(registers.license.value.expires_at),
                    },
                    "revision": registers.license.revision,
                },
                "desired": licensed_access(tenant, key, catalog=catalog, now=now) if key in catalog else "gone",
            }
            for key, registers in sorted(tenant.products.items())
        },
    }


def _pending_change(pending: PendingChange) -> Json:
    """A change that the destroy guard holds."""
    event = pending.event
    return {
        "change": event.change,
        "product": event.product,
        "revision": event.revision,
        "reason": event.reason,
        "since": _time(pending.since),
    }


def _state(register: Register[Any] | None) -> Json | None:
    return {"value": register.value.state, "revision": register.revision} if register else None


def _time(time: datetime | None) -> str | None:
    return in_utc(time).isoformat().replace("+00:00", "Z") if time else None


# -- actual --------------------------------------------------------------------------------------------------------


def describe_actual(snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime) -> Json:
    """Each scope's level and state; for each product its seven steps, and whether it began anew after a purge."""
    desired_states = {
        scope: desired_state(scope, snapshot, catalog=catalog, policy=policy, now=now)
        for scope in scopes_of(snapshot.tenant, catalog)
    }
    described: dict[Scope, Json] = {
        scope: _scope(scope, spec, snapshot, catalog=catalog, now=now) for scope, spec in desired_states.items()
    }
    for scope, spec in desired_states.items():
        if scope.kind == "product":
            described[scope]["data_lost"] = data_lost(scope.key, snapshot, catalog=catalog)
            described[scope]["steps"] = _seven(scope, spec, desired_states, snapshot, catalog)
    return {
        "site": described[Scope("site", snapshot.tenant.id)],
        "families": {scope.key: each for scope, each in described.items() if scope.kind == "family"},
        "products": {scope.key: each for scope, each in described.items() if scope.kind == "product"},
    }


def describe_scopes(snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime) -> dict[Scope, Json]:
    """Each scope's level and state, without the scopes that are absent, should be, and were never begun."""
    found: dict[Scope, Json] = {}
    for scope in scopes_of(snapshot.tenant, catalog):
        desired = desired_state(scope, snapshot, catalog=catalog, policy=policy, now=now)
        described = _scope(scope, desired, snapshot, catalog=catalog, now=now)
        if snapshot.actual(scope).version or described["state"] != "converged":
            found[scope] = described
    return found


def _scope(scope: Scope, desired: DesiredState, snapshot: TenantSnapshot, *, catalog: Catalog, now: datetime) -> Json:
    """A scope's level and status, wherever it is shown: in `show`, `runs list`, `runs show` and `explain`."""
    status = status_of(scope, desired, snapshot, catalog=catalog, now=now)
    described: Json = {"level": status.level, "desired": status.desired, "state": status.state}
    if status.reason is not None:
        described["reason"] = (
            sentence(problem("approval-needed", change=status.reason)) if status.awaits_approval else status.reason
        )
    if status.until is not None:
        described["until"] = _time(status.until)
    return described


def _seven(
    scope: Scope,
    desired: DesiredState,
    desired_states: dict[Scope, DesiredState],
    snapshot: TenantSnapshot,
    catalog: Catalog,
) -> list[Json]:
    site = Scope("site", scope.tenant_id)
    family = Scope("family", scope.tenant_id, catalog.family_of(scope.key))
    owners = {
        Step.COMMERCE: site,
        Step.SITE: scope,
        Step.REGION: family,
        Step.CONFIGURATION: scope,
        Step.IDENTITY: scope,
        Step.DATABASE: family,
        Step.LICENSE: scope,
    }
    return [
        {
            "number": int(step),
            "name": STEP_NAMES[step],
            "state": _step_state(step, scope, owner, desired, desired_states.get(owner, desired), snapshot, catalog),
            "scope": str(owner),
        }
        for step, owner in owners.items()
    ]


def _step_state(
    step: Step,
    product: Scope,
    owner: Scope,
    desired: DesiredState,
    owners_spec: DesiredState,
    snapshot: TenantSnapshot,
    catalog: Catalog,
) -> str:
    """`done` where ensured as wished; `absent` where it is neither wished nor there."""
    actual = snapshot.actual(owner)
    ensured = actual.steps.get(step)
    wished = step in owners_spec.steps and desired.level != "absent"
    if ensured is None:
        return "pending" if wished else "absent"
    if ensured.done:
        if step is Step.DATABASE and catalog[product.key].family is not None and wished:
            database = database_of(snapshot, owner.key)
            role = database.role_of(product.key) if database else None
            return "done" if role is not None and role.login == (desired.level == "open") else "pending"
        return "done" if wished and ensured.spec == owners_spec.steps[step] else "pending" if wished else "unwanted"
    return _intent_state(step, actual)


def _intent_state(step: Step, actual: Provisioning) -> str:
    intent = actual.intent
    if intent is None or intent.step != step:
        return "pending"
    if intent.obstacle is not None:
        return "waiting"
    if intent.failures:
        return "failed" if intent.retry_at is None else "retrying"
    return "started" if intent.direction == "ensure" else "removing"
