"""Dump of commerce: one line of it, compared with what the log says of the same tenant.

A full dump of commerce, line by line, against the registers. What follows from the registers is not looked at here: the
saga and the reconciler see to it.

    missing   commerce has it, and we never heard of it: an event was lost
    older     its revision is higher at commerce than here: an event was lost
    differs   the same revision, or none, with other content: an event was lost, or an operator has acted here
    ahead     its revision is lower at commerce, though we have heard nothing since the dump
    extra     we have it, and commerce does not, though we have heard nothing of it since the dump

What was recorded here after the dump was taken is newer than the dump, and no difference. Nothing is ever changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from domain import names
from domain.commands import Data, Instant, Residency, Revision, Users
from domain.customer import Customer
from domain.event import Origin
from domain.tenant.budget import with_pending
from domain.tenant.closings import describe_pending
from domain.tenant.product_registers import ProductRegisters
from domain.tenant.state import Attributes, Tenant

# -- lines of a dump -----------------------------------------------------------------------------------------------


class DumpBegins(Data):
    """The first line. `as_of`: when the dump was taken, or begun."""

    dump: Literal["tenantry.commerce/1"]
    as_of: AwareDatetime


class CustomerLine(Data):
    """One customer; no names, for a dump needs no personal data. What is left out is not compared."""

    customer_id: names.CustomerId
    revision: Revision | None = None
    country: names.Country | None = None
    administrators: tuple[names.AccountId, ...] | None = Field(default=None, max_length=1000)


class LicenseLine(Data):
    edition: names.Edition
    users: Users
    status: Literal["active", "inactive"]
    expires_at: Instant | None = None


class ProductLine(Data):
    """One product as commerce wants it; `revision` is commerce's counter for it."""

    product: names.ProductKey
    revision: Revision | None = None
    presence: Literal["activated", "deactivated"]
    access: Literal["open", "suspended"] = "open"
    license: LicenseLine | None = None
    residency: Residency | None = None
    region: names.Region | None = None


class TenantLine(Data):
    """One tenant with all of its products."""

    tenant_id: names.TenantId
    customer_id: names.CustomerId
    site_name: names.SiteName
    residency: Residency
    region: names.Region | None = None
    revision: Revision | None = None
    destroyed: bool = False
    products: tuple[ProductLine, ...] = Field(default=(), max_length=1000)


class DumpEnds(Data):
    """The last line: without it, or with other numbers, the dump was cut short."""

    end: Literal[True]
    customers: int
    tenants: int


Line = DumpBegins | CustomerLine | TenantLine | DumpEnds

# -- differences ---------------------------------------------------------------------------------------------------

Kind = Literal["missing", "older", "differs", "ahead", "extra"]


@dataclass(frozen=True, slots=True)
class CommerceDifference:
    """`what`: `customer c-1`, `tenant t-1`, or a product of it by its key.

    `is_awaiting_approval`: the destroy guard has it, it is not lost.
    """

    kind: Kind
    tenant_id: str | None
    what: str
    text: str
    is_awaiting_approval: bool = False


def compare_customer(line: CustomerLine, customer: Customer, *, as_of: datetime) -> Iterator[CommerceDifference]:
    """The line against what we know of the customer."""
    what = f"customer {line.customer_id}"
    if customer.details is None:
        yield CommerceDifference("missing", None, what, "we never heard of it")
        return
    details, here = customer.details.value, customer.details.revision
    differences = []
    if line.country is not None and line.country != details.country:
        differences.append(f"country {details.country} here, {line.country} at commerce")
    if line.administrators is not None:
        known = {person.account_id for person in details.administrators}
        if known != set(line.administrators):
            differences.append(
                f"{len(known - set(line.administrators))} administrators too many here,"
                f" {len(set(line.administrators) - known)} too few"
            )
    if kind := _kind(here, line.revision, differences, customer.origin, as_of=as_of):
        yield CommerceDifference(kind, None, what, _text(here, line.revision, differences))


def compare_tenant(line: TenantLine, tenant: Tenant, *, as_of: datetime) -> Iterator[CommerceDifference]:
    """The line against the tenant's registers; of a tenant that is destroyed on both sides nothing else counts."""
    what = f"tenant {tenant.id}"
    if tenant.attributes is None:
        if not line.destroyed:
            yield CommerceDifference("missing", tenant.id, what, "we never heard of it")
        return
    if line.destroyed or tenant.destroyed:
        newer = tenant.destroyed is not None and is_newer(tenant.origin, as_of)
        if line.destroyed != (tenant.destroyed is not None) and not newer:
            pending = any(pending.event.change == "destroy" for pending in tenant.pending)
            here = "destroyed" if tenant.destroyed else "awaiting approval" if pending else "alive"
            there = "destroyed" if line.destroyed else "alive"
            is_awaiting_approval = pending and line.destroyed
            yield CommerceDifference(
                "differs",
                tenant.id,
                what,
                f"{here} here, {there} at commerce",
                is_awaiting_approval=is_awaiting_approval,
            )
        return
    attributes, revision = tenant.attributes.value, tenant.attributes.revision
    differences = list(_attributes(line, attributes))
    if kind := _kind(revision, line.revision, differences, tenant.origin, as_of=as_of):
        yield CommerceDifference(kind, tenant.id, what, _text(revision, line.revision, differences))
    for product in line.products:
        yield from _compare_product(product, tenant, as_of=as_of)
    for key in sorted(set(tenant.products) - {product.product for product in line.products}):
        registers = tenant.product(key)
        if registers.activated and not is_newer(registers.origin, as_of):
            yield CommerceDifference("extra", tenant.id, key, "active here, and commerce does not have it")


def _attributes(line: TenantLine, here: Attributes) -> Iterator[str]:
    for name in ("customer_id", "site_name", "residency", "region"):
        ours, theirs = getattr(here, name), getattr(line, name)
        if ours != theirs:
            yield f"{name.replace('_', ' ')} {ours or 'none'} here, {theirs or 'none'} at commerce"


def _compare_product(line: ProductLine, tenant: Tenant, *, as_of: datetime) -> Iterator[CommerceDifference]:
    registers = tenant.product(line.product)
    if registers.presence is None:
        if line.presence == "activated":
            known = "never activated here" if registers.origin else "we never heard of it"
            yield CommerceDifference("missing", tenant.id, line.product, known)
        return
    pending = [
        pending.event
        for pending in tenant.pending
        if pending.event.product == line.product and pending.event.change != "purge"
    ]
    revision = _highest(registers, [each.revision for each in pending])
    differences = list(_content(line, registers))
    is_heard = bool(pending) and not list(_content(line, with_pending(registers, pending)))
    if differences:
        differences += [f"{describe_pending(each)} awaits approval" for each in pending]
    if kind := _kind(revision, line.revision, differences, registers.origin, as_of=as_of):
        is_awaiting_approval = is_heard and kind == "differs"
        yield CommerceDifference(
            kind,
            tenant.id,
            line.product,
            _text(revision, line.revision, differences),
            is_awaiting_approval=is_awaiting_approval,
        )


def _content(line: ProductLine, here: ProductRegisters) -> Iterator[str]:
    """What is not the same; of a product that is deactivated on both sides nothing else counts."""
    assert here.presence is not None
    presence = here.presence.value
    if presence.state != line.presence:
        yield f"{presence.state} here, {line.presence} at commerce"
    if line.presence == "deactivated":
        return
    access = here.access.value.state if here.access else "open"
    if access != line.access:
        yield f"{access} here, {line.access} at commerce"
    if (presence.residency, presence.region) != (line.residency, line.region):
        ours, theirs = presence.region or presence.residency, line.region or line.residency
        yield f"pin {ours or 'none'} here, {theirs or 'none'} at commerce"
    license_ = here.license.value if here.license else None
    for name in ("edition", "users", "status", "expires_at") if line.license else ():
        ours, theirs = getattr(license_, name, None), getattr(line.license, name)
        if ours != theirs:
            yield f"license {name.replace('_', ' ')} {_value(ours)} here, {_value(theirs)} at commerce"


def _value(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else "none" if value is None else str(value)


def _highest(registers: ProductRegisters, pending: Iterable[int | None]) -> int | None:
    """The highest revision that we have heard of; a change that the guard holds was heard of too."""
    each = (registers.presence, registers.access, registers.license)
    known = [register.revision for register in each if register is not None]
    return max((revision for revision in (*known, *pending) if revision is not None), default=None)


def _kind(
    here: int | None, there: int | None, differences: Sequence[str], origin: Origin | None, *, as_of: datetime
) -> Kind | None:
    if here is not None and there is not None and here < there:
        return "older"
    if is_newer(origin, as_of):
        return None
    if here is not None and there is not None and here > there:
        return "ahead"
    return "differs" if differences else None


def _text(here: int | None, there: int | None, differences: Sequence[str]) -> str:
    revisions = [] if here == there else [f"revision {_value(here)} here, {_value(there)} at commerce"]
    return "; ".join([*revisions, *differences])


def is_newer(origin: Origin | None, as_of: datetime) -> bool:
    return origin is not None and origin.time > as_of
