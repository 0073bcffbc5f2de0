"""Decisions of a tenant: the events that a command leads to.

Events, or a refusal that says why. A pure function of the registers, the catalogue, the policy and the time.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import datetime

from msgspec.structs import replace

from domain.catalog import Catalog
from domain.commands import (
    ActivateProduct,
    Activation,
    CreateTenant,
    DeactivateProduct,
    DestroyTenant,
    ProductCommand,
    RestoreTenant,
    SuspendProduct,
    TenantCommand,
    UnsuspendProduct,
    UpdateLicense,
)
from domain.errors import Contradiction, Malformed, Problem, Refused, problem
from domain.personal import FORGOTTEN
from domain.policy import Policy
from domain.registers import Register, Write, judge
from domain.tenant.budget import closes
from domain.tenant.closings import PendingEvent, is_same, product_event_of, request_approval
from domain.tenant.events import (
    Founder,
    LicenseUpdated,
    ProductActivated,
    ProductDeactivated,
    ProductEvent,
    ProductSuspended,
    ProductUnsuspended,
    TenantCreated,
    TenantDestroyed,
    TenantEvent,
    TenantMessageStale,
    TenantRestored,
)
from domain.tenant.product_registers import ProductRegisters, verdicts_on, writes_of
from domain.tenant.state import Attributes, Tenant, attributes_of
from domain.times import moved


def decide(
    tenant: Tenant,
    command: TenantCommand,
    *,
    revision: int | None,
    now: datetime,
    catalog: Catalog,
    policy: Policy,
) -> list[TenantEvent]:
    """The events that follow from a command on a tenant that exists, or on none for `CreateTenant`.

    Raises Malformed (unknown product or edition, a reserved site name), Refused (the life cycle forbids it; only
    without a revision, or after the restore window) and Contradiction (the same revision with other content).
    """
    if tenant.destroyed and (tenant.purge or now > moved(tenant.destroyed.at, policy.restore_window)):
        raise Refused(problem("tenant-destroyed", tenant=tenant.id))
    match command:
        case CreateTenant():
            return _create(tenant, command, revision=revision, catalog=catalog, policy=policy, now=now)
        case DestroyTenant():
            return _destroy(tenant, command, revision=revision)
        case _:
            _check_offer(command, catalog, tenant)
            return [_product_event(tenant, _body(command, revision), type_of=_TYPES[type(command)], now=now)]


def _create(
    tenant: Tenant, command: CreateTenant, *, revision: int | None, catalog: Catalog, policy: Policy, now: datetime
) -> list[TenantEvent]:
    for entry in command.products:
        _check_offer(entry, catalog, tenant)
    event = TenantCreated(
        tenant_id=command.tenant_id,
        customer_id=command.customer_id,
        site_name=command.site_name,
        residency=command.residency,
        region=command.region,
        administrator=Founder(**dict(command.administrator)),
        revision=revision,
    )
    if tenant.attributes is not None and not _same(tenant.attributes.value, attributes_of(event)):
        raise Contradiction(problem("tenant-id-used-twice", tenant=tenant.id))
    if tenant.attributes is None and command.site_name in policy.reserved_site_names:
        raise Malformed(problem("site-name-reserved", site_name=command.site_name))
    higher = tenant.attributes is not None and revision is not None and revision > (tenant.attributes.revision or -1)
    repeats = tenant.exists and not higher
    events: list[TenantEvent] = [_stale(tenant.id, "tenant.created", revision) if repeats else event]
    for entry in command.products:
        if tenant.exists and entry.revision is None:
            continue  # said again without a revision: it was applied, or refused, the first time
        body = ProductActivated(tenant_id=tenant.id, **dict(entry))
        events.append(_product_event(tenant, body, type_of="tenant.created", now=now))
    return events


def _same(known: Attributes, sent: Attributes) -> bool:
    """Whether a repeated creation says the same; of a founder who was forgotten only the account can be compared."""
    if known.administrator.name == FORGOTTEN and known.administrator.account_id == sent.administrator.account_id:
        sent = replace(sent, administrator=known.administrator)
    return known == sent


def _destroy(tenant: Tenant, command: DestroyTenant, *, revision: int | None) -> list[TenantEvent]:
    undone = tenant.destroyed_revision is not None and revision is not None and revision <= tenant.destroyed_revision
    if tenant.destroyed or undone or any(pending.event.change == "destroy" for pending in tenant.pending):
        return [_stale(tenant.id, "tenant.destroyed", revision)]
    if revision is None and tenant.revisioned:
        raise Refused(problem("revision-missing", subject=f"tenant {tenant.id}"))
    return [TenantDestroyed(tenant_id=tenant.id, reason=command.reason, revision=revision)]


def restore(tenant: Tenant, command: RestoreTenant) -> TenantRestored:
    """The event that undoes a destruction. Refused where there is none, or its purge has begun.

    No clock is asked: when the window is over the purge is due, and until it has begun all is still there.
    """
    if tenant.destroyed is None:
        raise Refused(problem("not-destroyed", tenant=tenant.id))
    if tenant.purge:
        raise Refused(
            problem("restore-window-over", tenant=tenant.id, purge_began=f"{tenant.purge.at:%Y-%m-%d %H:%M} UTC")
        )
    return TenantRestored(
        tenant_id=tenant.id, reason=command.reason, operator=command.operator, undoes=tenant.destroyed.message
    )


def _product_event(tenant: Tenant, event: ProductEvent, *, type_of: str, now: datetime) -> TenantEvent:
    """The event itself where it lands in any register; that it was stale where it does not."""
    product, pending = tenant.product(event.product), _pending_of(tenant, event.product)
    if event.revision is None:
        if product.revisioned:
            raise Refused(problem("revision-missing", subject=f"product {event.product} of tenant {tenant.id}"))
        _check_life_cycle(product, event, {each.change for each in pending})
        return event
    verdicts = verdicts_on(product, event)
    for name, verdict in verdicts.items():
        if verdict is Write.CONTRADICTS:
            raise Contradiction(_other_content(tenant, event, f"another {name}"))
    for each in pending:
        if Write.CONTRADICTS in _against(each, event):
            raise Contradiction(_other_content(tenant, event, "other content, which awaits approval"))
    is_lower = bool(pending) and _repeats_pending(tenant, event, pending, now=now)
    if Write.LANDS in verdicts.values() and not is_lower:
        return event
    return _stale(tenant.id, type_of, event.revision, product=event.product)


def _other_content(tenant: Tenant, event: ProductEvent, difference: str) -> Problem:
    subject = f"product {event.product} of tenant {tenant.id}"
    return problem("same-revision-other-content", subject=subject, revision=event.revision, difference=difference)


def _repeats_pending(tenant: Tenant, event: ProductEvent, pending: Sequence[PendingEvent], *, now: datetime) -> bool:
    """Whether the same change awaits approval under that revision, or a higher one."""
    if not (isinstance(event, ProductDeactivated) or closes(event, tenant, now)):
        return False
    return any(
        is_same(each, request_approval(event)) and not {Write.REPEATS, Write.STALE}.isdisjoint(_against(each, event))
        for each in pending
    )


def _against(pending: PendingEvent, event: ProductEvent) -> set[Write]:
    """How the event stands to the changes that await approval, in each register that both write."""
    closing = product_event_of(pending)
    written, writes = writes_of(closing) if closing is not None else {}, writes_of(event)
    return {
        judge(Register(written[name], pending.revision), writes[name], event.revision)
        for name in written.keys() & writes.keys()
    }


def _pending_of(tenant: Tenant, key: str) -> list[PendingEvent]:
    """The changes of the product that await approval and came with a message."""
    return [each.event for each in tenant.pending if each.event.product == key and each.event.change != "purge"]


def _check_life_cycle(product: ProductRegisters, event: ProductEvent, pending: Set[str]) -> None:
    """What the state allows to an event without a revision; Refused names what would be allowed.

    An activation overtakes a deactivation that is `pending`, an unsuspension a suspension.
    """
    key = event.product
    match event:
        case ProductActivated() if "deactivate" in pending:
            return
        case ProductDeactivated() if "deactivate" in pending:
            raise Refused(problem("already-held", change="a deactivation", product=key))
        case ProductSuspended() if "suspend" in pending and not product.suspended:
            raise Refused(problem("already-held", change="a suspension", product=key))
        case ProductUnsuspended() if "suspend" in pending:
            return
        case ProductActivated() if product.activated:
            raise Refused(problem("already-active", product=key))
        case ProductActivated():
            return
        case _ if not product.activated:
            raise Refused(problem("not-active", product=key))
        case ProductSuspended() if product.suspended:
            raise Refused(problem("already-suspended", product=key))
        case ProductUnsuspended() if not product.suspended:
            raise Refused(problem("not-suspended", product=key))


def _check_offer(command: ProductCommand | Activation, catalog: Catalog, tenant: Tenant) -> None:
    """Malformed where the catalogue does not have the product or the edition.

    Only what opens asks for an offer. What the tenant has, or what was offered once, is closed and removed whatever the
    catalogue says today, and keeps its edition.
    """
    key = command.product
    product = catalog.products.get(key)
    if product is None and not isinstance(command, (ActivateProduct, Activation)):
        product = catalog.retired.get(key)
    opens = not isinstance(command, UpdateLicense) or command.status == "active"
    edition = getattr(command, "edition", None)
    if product is None:
        if key in tenant.products and (edition is None or not opens):
            return
        raise Malformed(problem("unknown-product", product=key))
    if edition is None or not opens or edition in product.editions:
        return
    known = product.editions if isinstance(command, (ActivateProduct, Activation)) else catalog.editions(key)
    if edition not in known:
        raise Malformed(problem("unknown-edition", product=key, edition=edition, known=tuple(known)))


_TYPES: dict[type[ProductCommand], str] = {
    ActivateProduct: "product.activated",
    DeactivateProduct: "product.deactivated",
    SuspendProduct: "product.suspended",
    UnsuspendProduct: "product.unsuspended",
    UpdateLicense: "license.updated",
}

_BODIES: dict[type[ProductCommand], type[ProductEvent]] = {
    ActivateProduct: ProductActivated,
    DeactivateProduct: ProductDeactivated,
    SuspendProduct: ProductSuspended,
    UnsuspendProduct: ProductUnsuspended,
    UpdateLicense: LicenseUpdated,
}


def _body(command: ProductCommand, revision: int | None) -> ProductEvent:
    return _BODIES[type(command)](**command.__dict__, revision=revision)


def _stale(tenant_id: str, type_: str, revision: int | None, product: str | None = None) -> TenantMessageStale:
    return TenantMessageStale(tenant_id=tenant_id, type=type_, product=product, revision=revision)
