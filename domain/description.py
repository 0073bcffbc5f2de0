"""How is a tenant told, to people and to programs?

Plain JSON-able values: what commerce wants, register by register; what is actual, scope by scope; and for each product
the seven steps, joined from the scopes that own them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from domain.catalog import Catalog
from domain.closings import describe_held
from domain.convergence import NEXT_ATTEMPT, Nothing, Wait, around, database_of, next_action
from domain.policy import Policy
from domain.provisioning import Provisioning
from domain.registers import Register
from domain.steps import Scope, Step
from domain.tenant import Held, Tenant
from domain.times import in_utc
from domain.wanted import Estate, Wanted, data_lost, is_purged, scopes_of, wanted, wish_of_product

Json = dict[str, Any]

STEP_NAMES: dict[Step, str] = {step: step.name.lower() for step in Step}


def describe(estate: Estate, *, catalog: Catalog, policy: Policy, now: datetime) -> Json:
    """`{"tenant_id", "wanted", "actual"}` of a tenant."""
    return {
        "tenant_id": estate.tenant.id,
        "wanted": describe_wanted(estate.tenant, catalog=catalog, now=now),
        "actual": describe_actual(estate, catalog=catalog, policy=policy, now=now),
    }


# -- wanted --------------------------------------------------------------------------------------------------------


def describe_wanted(tenant: Tenant, *, catalog: Catalog, now: datetime) -> Json:
    """The registers, and what they come to: the wish `open`, `closed` or `gone` of each product."""
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
            **({"held": [_held(held) for held in tenant.held]} if tenant.held else {}),
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
                "wish": wish_of_product(tenant, key, catalog=catalog, now=now) if key in catalog else "gone",
            }
            for key, registers in sorted(tenant.products.items())
        },
    }


def _held(held: Held) -> Json:
    """A change that the destroy guard holds."""
    event = held.event
    return {
        "change": event.change,
        "product": event.product,
        "revision": event.revision,
        "reason": event.reason,
        "since": _time(held.since),
    }


def _state(register: Register[Any] | None) -> Json | None:
    return {"value": register.value.state, "revision": register.revision} if register else None


def _time(time: datetime | None) -> str | None:
    return in_utc(time).isoformat().replace("+00:00", "Z") if time else None


# -- actual --------------------------------------------------------------------------------------------------------


def describe_actual(estate: Estate, *, catalog: Catalog, policy: Policy, now: datetime) -> Json:
    """Each scope's level and state; for each product its seven steps, and whether it began anew after a purge."""
    wishes = {
        scope: wanted(scope, estate, catalog=catalog, policy=policy, now=now)
        for scope in scopes_of(estate.tenant, catalog)
    }
    told: dict[Scope, Json] = {
        scope: _scope(scope, wish, estate, catalog=catalog, now=now) for scope, wish in wishes.items()
    }
    for scope, wish in wishes.items():
        if scope.kind == "product":
            told[scope]["data_lost"] = data_lost(scope.key, estate, catalog=catalog)
            told[scope]["steps"] = _seven(scope, wish, wishes, estate, catalog)
    return {
        "site": told[Scope("site", estate.tenant.id)],
        "families": {scope.key: each for scope, each in told.items() if scope.kind == "family"},
        "products": {scope.key: each for scope, each in told.items() if scope.kind == "product"},
    }


def describe_scopes(estate: Estate, *, catalog: Catalog, policy: Policy, now: datetime) -> dict[Scope, Json]:
    """Each scope's level and state, but for those of which nothing was ever begun, and nothing is wanted."""
    found: dict[Scope, Json] = {}
    for scope in scopes_of(estate.tenant, catalog):
        wish = wanted(scope, estate, catalog=catalog, policy=policy, now=now)
        told = _scope(scope, wish, estate, catalog=catalog, now=now)
        if estate.actual(scope).version or told["state"] != "converged":
            found[scope] = told
    return found


def _awaited(scope: Scope, tenant: Tenant) -> str | None:
    """Which changes of the scope await an approval, though nothing of it waits for them; a purge is told by itself."""
    if scope.kind == "family":
        return None
    changes = [held.event for held in tenant.held if (held.event.product or "") == scope.key]
    told = [describe_held(event) for event in changes if event.change != "purge"]
    return f"{' and '.join(told)} {'await' if told[1:] else 'awaits'} approval" if told else None


def _scope(scope: Scope, wish: Wanted, estate: Estate, *, catalog: Catalog, now: datetime) -> Json:
    """The state of a scope in one word, wherever it is told: in `show`, `runs list`, `runs show` and `explain`.

    `waiting`: for something that has a name. `in progress`: the saga is at it, or tries a step again.
    """
    actual = estate.actual(scope)
    action = next_action(wish, actual, around(scope, wish, estate, catalog=catalog), now)
    told: Json = {"level": actual.level, "wanted": wish.level, "state": "in progress"}
    if actual.held is not None:
        told |= {"state": "held", "reason": actual.held.reason}
    elif actual.given_up is not None:
        told |= {"state": "given up", "reason": actual.given_up.reason}
    elif actual.intent is not None and actual.intent.obstacle is not None:
        told |= {"state": "waiting", "reason": actual.intent.reason}
    elif isinstance(action, Wait) and action.on == NEXT_ATTEMPT and actual.intent is not None:
        told |= {"reason": actual.intent.reason, "until": _time(action.until)}
    elif isinstance(action, Wait):
        told |= {"state": "waiting", "reason": f"waits for {action.on}"}
        if action.until is not None:
            told |= {"until": _time(action.until), "reason": action.on}
    elif _waits_for_purge(scope, estate, catalog=catalog):
        told |= {"state": "waiting", "reason": "waits for the end of a purge, to begin anew"}
    elif isinstance(action, Nothing) and (awaited := _awaited(scope, estate.tenant)):
        told |= {"state": "waiting", "reason": f"{awaited}: see `tenantry runs approve`"}
    elif isinstance(action, Nothing):
        told["state"] = "converged"
        if action.wake_at is not None:
            told["until"] = _time(action.wake_at)
    elif actual.intent is not None and actual.intent.failures:
        told["reason"] = actual.intent.reason
    return told


def _waits_for_purge(scope: Scope, estate: Estate, *, catalog: Catalog) -> bool:
    """Whether it is active again, and what it was before is not gone yet."""
    tenant = estate.tenant
    is_active = scope.kind == "product" and tenant.product(scope.key).activated and tenant.purge is None
    return is_active and is_purged(scope.key, estate, catalog=catalog)


def _seven(scope: Scope, wish: Wanted, wishes: dict[Scope, Wanted], estate: Estate, catalog: Catalog) -> list[Json]:
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
            "state": _step_state(step, scope, owner, wish, wishes.get(owner, wish), estate, catalog),
            "scope": str(owner),
        }
        for step, owner in owners.items()
    ]


def _step_state(
    step: Step,
    product: Scope,
    owner: Scope,
    wish: Wanted,
    owners_wish: Wanted,
    estate: Estate,
    catalog: Catalog,
) -> str:
    """`done` where ensured as wished; `absent` where it is neither wished nor there."""
    actual = estate.actual(owner)
    ensured = actual.steps.get(step)
    wished = step in owners_wish.steps and wish.level != "absent"
    if ensured is None:
        return "pending" if wished else "absent"
    if ensured.done:
        if step is Step.DATABASE and catalog[product.key].family is not None and wished:
            database = database_of(estate, owner.key)
            role = database.role_of(product.key) if database else None
            return "done" if role is not None and role.login == (wish.level == "open") else "pending"
        return "done" if wished and ensured.wish == owners_wish.steps[step] else "pending" if wished else "unwanted"
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
