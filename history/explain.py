"""Explanation of a product's state at a moment: the reasons why it was usable or not.

It is computed from the events of the log up to that moment: what the product lacked in its real resources (its access
to the site, its login role, its entitlement); its desired state, with the event since which it is so and the causes of
that event, back to the message on Kafka or to the person; and the state of the saga.

    lacking     requirements of an open product that its resources did not meet
    doubts      reasons to doubt the recorded state: a resource was unreachable, or was found missing later
    obstacles   reasons why the desired state was not open, each with the event since which it holds without a break
    awaiting    changes beyond the budget of the destroy guard: they changed nothing and awaited approval
    standing    the scopes that had not converged, each with its step
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from application.description import describe_actual
from application.problem_texts import sentence
from domain.catalog import Catalog
from domain.errors import problem
from domain.event import Recorded
from domain.policy import Policy
from domain.scope.desired import licensed_access
from domain.scope.next_action import database_of
from domain.scope.purges import data_lost
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import ScopeConverged
from domain.scope.steps import LicenseResult, MembershipResult, Scope, SiteResult, Step
from domain.tenant import state as tenants
from domain.tenant.closings import describe_pending
from domain.tenant.events import ApprovalRequested, ChangesApproved, LicenseUpdated, ProductActivated
from domain.tenant.state import Tenant
from domain.times import clock
from history.as_of import snapshot_of
from history.as_recorded import doubts
from history.story import Standing, standing


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason in words; `since` is the chain of events from the one that brought it about to the first cause."""

    text: str
    since: Sequence[Recorded]


@dataclass(frozen=True, slots=True)
class Stood:
    """A scope that had not converged."""

    scope: Scope
    state: str
    reason: str | None
    at: Standing


@dataclass(frozen=True, slots=True)
class Explained:
    """`spec`: open, closed or gone; `desired_state`: the reasons for it; `level`: the level it last converged to.

    `level_since`: the event that brought it to that level; `level_last`: its last convergence to that level.
    """

    product: str
    usable: bool
    lacking: Sequence[str]
    doubts: Sequence[str]
    spec: str
    obstacles: Sequence[str]
    """The names of the reasons why the desired state was not open (`obstacles`)."""
    desired_state: Sequence[Reason]
    awaiting: Sequence[Reason]
    level: str
    level_since: Sequence[Recorded]
    level_last: Sequence[Recorded]
    data_lost: bool
    """Whether it had started again without data, after a purge had deleted its data."""
    standing: Sequence[Stood]


def explain(
    tenant_id: str,
    product: str,
    events: Sequence[Recorded],
    *,
    catalog: Catalog,
    policy: Policy,
    now: datetime,
    later: Sequence[Recorded] = (),
) -> Explained:
    """`events`: all of the tenant up to the moment; `later`: those after it; `now`: the time of the moment."""
    snapshot = snapshot_of(tenant_id, events, catalog=catalog)
    known = {recorded.id: recorded for recorded in events}
    lacking = tuple(_lacking(product, snapshot, catalog))
    scope, family = Scope("product", tenant_id, product), Scope("family", tenant_id, catalog.family_of(product))
    converged, again = _level_since(scope, events)
    awaiting = tuple(_awaiting(product, snapshot.tenant, events, known, catalog=catalog))
    return Explained(
        product=product,
        usable=not lacking,
        lacking=lacking,
        doubts=tuple(doubts(scope, family, snapshot, events, later)),
        spec=licensed_access(snapshot.tenant, product, catalog=catalog, now=now),
        obstacles=tuple(obstacles(snapshot.tenant, product, catalog=catalog, now=now)),
        desired_state=tuple(
            _reasons(tenant_id, product, events, known, catalog=catalog, now=now, is_free=not awaiting)
        ),
        awaiting=awaiting,
        level=snapshot.product(product).level,
        level_since=chain(converged, known) if converged else (),
        level_last=chain(again, known) if again else (),
        data_lost=data_lost(product, snapshot, catalog=catalog),
        standing=tuple(_standing(product, snapshot, events, catalog=catalog, policy=policy, now=now)),
    )


def chain(recorded: Recorded, known: Mapping[UUID, Recorded]) -> list[Recorded]:
    """The event, the event that was its cause, and so on; the cause of the last one is outside of the log.

    An event that had awaited approval is followed by its approval.
    """
    found = [recorded]
    while found[-1].cause.kind == "event" and found[-1].cause.id:
        cause = known.get(UUID(found[-1].cause.id))
        if cause is None or cause in found:
            break
        found.append(cause)
    approvals = ((recorded, _approval_of(recorded, known)) for recorded in found)
    return [each for pair in approvals for each in pair if each is not None]


def _approval_of(recorded: Recorded, known: Mapping[UUID, Recorded]) -> Recorded | None:
    """The approval that was recorded with the event, of a change that the same message or time had requested."""
    of_stream = [each for each in known.values() if each.stream == recorded.stream and each.version < recorded.version]
    requested = {
        each.version for each in of_stream if isinstance(each.event, ApprovalRequested) and each.cause == recorded.cause
    }
    return next(
        (
            each
            for each in of_stream
            if isinstance(each.event, ChangesApproved)
            and each.correlation != recorded.correlation
            and each.time == recorded.time
            and requested & set(each.event.changes)
        ),
        None,
    )


# -- the real world ------------------------------------------------------------------------------------------------


def _lacking(product: str, snapshot: TenantSnapshot, catalog: Catalog) -> Iterator[str]:
    site = snapshot.site().steps.get(Step.SITE)
    if site is None or not isinstance(site.result, SiteResult):
        yield "its site was not there yet"
    elif site.result.access != "open":
        yield "its site was closed"
    actual = snapshot.product(product)
    member = actual.steps.get(Step.SITE)
    if member is None or not isinstance(member.result, MembershipResult):
        yield "it was not on its site"
    elif member.result.access != "open":
        yield "its access on the site was closed"
    if catalog[product].family is not None:
        yield from _lacking_of_database(product, snapshot, catalog)
    entitled = actual.steps.get(Step.LICENSE)
    if entitled is None or not isinstance(entitled.result, LicenseResult):
        yield "it had no entitlement"
    elif not entitled.result.active:
        yield "its entitlement was inactive"


def _lacking_of_database(product: str, snapshot: TenantSnapshot, catalog: Catalog) -> Iterator[str]:
    family = catalog.family_of(product)
    database = database_of(snapshot, family)
    role = database.role_of(product) if database else None
    if snapshot.family(family).data_missing:
        yield "its database was missing"
    elif role is None:
        yield "it had no login role in a database"
    elif not role.login:
        yield "its login role could not log in"


def _level_since(scope: Scope, events: Sequence[Recorded]) -> tuple[Recorded | None, Recorded | None]:
    """The event by which the scope last came to another level, and its last convergence to that level."""
    first: Recorded | None = None
    last: Recorded | None = None
    stream = str(scope)
    for recorded in events:
        if recorded.stream == stream and isinstance(recorded.event, ScopeConverged):
            before = first.event.level if first and isinstance(first.event, ScopeConverged) else None
            first = recorded if recorded.event.level != before else first
            last = recorded
    return first, last


def _standing(
    product: str,
    snapshot: TenantSnapshot,
    events: Sequence[Recorded],
    *,
    catalog: Catalog,
    policy: Policy,
    now: datetime,
) -> Iterator[Stood]:
    actual = describe_actual(snapshot, catalog=catalog, policy=policy, now=now)
    tenant_id, family = snapshot.tenant.id, catalog.family_of(product)
    scopes = {Scope("site", tenant_id): actual["site"]}
    scopes |= {Scope("family", tenant_id, family): actual["families"].get(family)}
    scopes |= {Scope("product", tenant_id, product): actual["products"].get(product)}
    for scope, state in scopes.items():
        if state is not None and state["state"] != "converged":
            stream = str(scope)
            of_scope = [recorded for recorded in events if recorded.stream == stream]
            yield Stood(scope, state["state"], state.get("reason"), standing(of_scope))


# -- the desired state ---------------------------------------------------------------------------------------------


def _reasons(
    tenant_id: str,
    product: str,
    events: Sequence[Recorded],
    known: Mapping[UUID, Recorded],
    *,
    catalog: Catalog,
    now: datetime,
    is_free: bool,
) -> Iterator[Reason]:
    """The reasons for the desired state: each obstacle with the event since which it exists; or the event of opening.

    `is_free`: no change of the product awaits approval.
    """
    since: dict[str, Recorded] = {}
    tenant, last = Tenant(tenant_id), None
    stream = tenants.stream_of(tenant_id)
    for recorded in events:
        if recorded.stream != stream:
            continue
        tenant, last = tenants.evolve(tenant, recorded), recorded
        there = obstacles(tenant, product, catalog=catalog, now=recorded.time) or {_OPEN: _OPEN}
        since = {text: since.get(text, recorded) for text in there.values()}
    there = obstacles(tenant, product, catalog=catalog, now=now) or {_OPEN: _OPEN}
    for name, text in there.items():
        since_event = since.get(text) or _license_of(product, events) or last
        if name == _OPEN:
            rest = "without an obstacle" if is_free else "a change of that awaits approval"
            yield Reason(f"activated, licensed, and {rest}", chain(since_event, known) if since_event else ())
        else:
            yield Reason(text, chain(since_event, known) if since_event else ())


_OPEN = "open"


def _awaiting(
    product: str, tenant: Tenant, events: Sequence[Recorded], known: Mapping[UUID, Recorded], *, catalog: Catalog
) -> Iterator[Reason]:
    """The changes of the product, of its host or of the whole tenant that await approval."""
    stream = tenants.stream_of(tenant.id)
    asked = {recorded.version: recorded for recorded in events if recorded.stream == stream}
    for requested in tenant.pending:
        event = requested.event
        if event.product not in (None, product, catalog[product].host):
            continue
        whose = "" if event.product is None else " of it" if event.product == product else f" of host {event.product}"
        text = _with(f"{describe_pending(event)}{whose}", event.reason)
        yield Reason(
            sentence(problem("approval-needed", change=f"{text}, beyond the budget of the destroy guard")),
            chain(asked[requested.version], known) if requested.version in asked else (),
        )


def obstacles(tenant: Tenant, product: str, *, catalog: Catalog, now: datetime) -> dict[str, str]:
    """The reasons why the product's desired state is not open, by a short name; empty where it is open."""
    registers = tenant.product(product)
    if registers.presence is None:
        return {"never": "it was never activated"}
    found: dict[str, str] = {}
    if tenant.destroyed is not None and (registers.activated or tenant.purge is not None):
        found["destroyed"] = _with("its tenant was destroyed", tenant.destroyed.reason)
    if tenant.purge is not None:
        found["purge"] = "its tenant's restore window was over, and the purge of its data had begun"
    if not registers.activated:
        found["deactivated"] = _with("it was deactivated", registers.presence.value.reason)
        if registers.purge is not None:
            found["purge"] = "its retention was over, and the purge of its data had begun"
        return found
    if registers.suspended and registers.access is not None:
        found["suspended"] = _with("it was suspended", registers.access.value.reason)
    license_ = registers.license.value if registers.license else None
    if license_ is None:
        found["unlicensed"] = "it had no license"
    elif license_.status != "active":
        found["inactive"] = "its license was inactive"
    elif registers.expired or (license_.expires_at is not None and license_.expires_at <= now):
        ended = f" at {clock(license_.expires_at)}" if license_.expires_at else ""
        found["expired"] = f"its license ran out{ended}"
    host = catalog[product].host
    if host is not None:
        of_host = obstacles(tenant, host, catalog=catalog, now=now)
        of_its_own = {name: text for name, text in of_host.items() if found.get(name) != text}
        found |= {f"host {name}": f"its host {host}: {text}" for name, text in of_its_own.items()}
    return found


def _with(text: str, reason: str | None) -> str:
    return f"{text} ({reason})" if reason else text


def _license_of(product: str, events: Sequence[Recorded]) -> Recorded | None:
    """The last event that wrote the product's license, for a license that has ended without an event of its own yet."""
    writes = (ProductActivated, LicenseUpdated)
    return next(
        (
            recorded
            for recorded in reversed(events)
            if isinstance(recorded.event, writes) and recorded.event.product == product
        ),
        None,
    )
