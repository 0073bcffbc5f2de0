"""Registers of one product: presence, access and license, and what each event of the product writes into them.

    event                  presence       access       license
    ProductActivated       activated      open         active
    ProductDeactivated     deactivated
    ProductSuspended                      suspended
    ProductUnsuspended                    open
    LicenseUpdated                                     as it says

A write lands, or is passed over, for each register by itself (domain/registers.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from domain.event import Folded, Origin, Recorded, origin_of
from domain.registers import Register, Write, judge
from domain.tenant.events import (
    LicenseUpdated,
    ProductActivated,
    ProductDeactivated,
    ProductEvent,
    ProductSuspended,
    ProductUnsuspended,
)


class Presence(Struct, frozen=True):
    """Whether commerce has the product activated, and where a pin of its own would put it."""

    state: Literal["activated", "deactivated"]
    residency: Literal["global", "pinned"] | None = None
    region: str | None = None
    reason: str | None = None


class ProductAccess(Struct, frozen=True):
    state: Literal["open", "suspended"]
    reason: str | None = None


class License(Struct, frozen=True):
    edition: str
    users: int
    status: Literal["active", "inactive"]
    expires_at: datetime | None


class Purge(Struct, frozen=True):
    """Began with the event of version `started`; what was there before it goes, and with it those families."""

    started: int
    families: tuple[str, ...]


class ProductRegisters(Folded, frozen=True):
    """What commerce said of one product; `deactivated_at` is where its retention starts.

    The epochs of its timers are `present_since` and `licensed_since`: the versions that last wrote those registers, as
    `access_since` is of the access.
    """

    presence: Register[Presence] | None = None
    access: Register[ProductAccess] | None = None
    license: Register[License] | None = None
    revisioned: bool = False
    deactivated_at: datetime | None = None
    origin: Origin | None = None
    present_since: int = 0
    licensed_since: int = 0
    access_since: int = 0
    expired: bool = False
    purge: Purge | None = None

    @property
    def activated(self) -> bool:
        return self.presence is not None and self.presence.value.state == "activated"

    @property
    def data_lost(self) -> bool:
        """Active again after a purge took what it once held."""
        return self.activated and self.purge is not None

    @property
    def suspended(self) -> bool:
        return self.access is not None and self.access.value.state == "suspended"

    def is_open(self, now: datetime) -> bool:
        """Whether its own registers have it open: whatever its host or its tenant may be."""
        is_licensed = self.license is not None and not self.expired and _is_in_force(self.license.value, now)
        return self.activated and not self.suspended and is_licensed


NO_REGISTERS: Final = ProductRegisters()
"""Of a product that commerce never spoke of."""

Written = Presence | ProductAccess | License

_WRITTEN_SINCE: Final = {"presence": "present_since", "access": "access_since", "license": "licensed_since"}
"""The epoch of each register."""


def writes_of(event: ProductEvent) -> Mapping[str, Written]:
    """What an event writes, by the name of the register."""
    match event:
        case LicenseUpdated():
            return {"license": License(event.edition, event.users, event.status, event.expires_at)}
        case ProductActivated():
            return {
                "presence": Presence("activated", event.residency, event.region),
                "access": ProductAccess("open"),
                "license": License(event.edition, event.users, "active", event.expires_at),
            }
        case ProductDeactivated():
            return {"presence": Presence("deactivated", reason=event.reason)}
        case ProductSuspended():
            return {"access": ProductAccess("suspended", event.reason)}
        case ProductUnsuspended():
            return {"access": ProductAccess("open")}


def verdicts_on(product: ProductRegisters, event: ProductEvent) -> dict[str, Write]:
    """What the event would do to each register that it writes."""
    return {name: judge(getattr(product, name), value, event.revision) for name, value in writes_of(event).items()}


def would_write(product: ProductRegisters, event: ProductEvent, since: int) -> bool:
    """Whether the event would still land in a register; without a revision: in one not written `since` then."""
    if event.revision is None:
        return any(getattr(product, _WRITTEN_SINCE[name]) < since for name in writes_of(event))
    return Write.LANDS in verdicts_on(product, event).values()


def landing(product: ProductRegisters, event: ProductEvent) -> dict[str, object]:
    """The registers that the event writes, as they are after it."""
    revision = event.revision
    return {
        name: Register(value, revision)
        for name, value in writes_of(event).items()
        if judge(getattr(product, name), value, revision) is Write.LANDS
    }


def after(product: ProductRegisters, event: ProductEvent, recorded: Recorded) -> ProductRegisters:
    """The registers of a product after an event that writes some of them."""
    changes: dict[str, object] = {"origin": origin_of(recorded)}
    for name, register in landing(product, event).items():
        changes[name] = register
        changes[_WRITTEN_SINCE[name]] = recorded.version
    if "presence" in changes:
        changes["deactivated_at"] = recorded.happened if isinstance(event, ProductDeactivated) else None
    if "license" in changes:
        changes["expired"] = False
    if event.revision is not None:
        changes["revisioned"] = True
    return product.but(**changes)


def _is_in_force(license_: License, now: datetime) -> bool:
    return license_.status == "active" and (license_.expires_at is None or license_.expires_at > now)
