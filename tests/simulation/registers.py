"""What should be there, by what commerce said and nothing else?

The rules of registers and levels once more, written down apart from domain/: a `Tenant` hears each message when it is
delivered, and says the level of each product at any time. What commerce cannot know is asked for: whether a product
ever came to live.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Level = Literal["open", "closed", "retained", "absent"]

RETENTION = timedelta(days=60)
RESTORE_WINDOW = timedelta(days=14)
COOL_DOWN = timedelta(days=30)
HOSTS = {"timesheets": "jira-software"}


@dataclass(frozen=True)
class Said:
    """A message of commerce. `data` is what it says besides the tenant and the product."""

    id: str
    type: str
    tenant: str
    product: str
    revision: int | None
    at: datetime
    data: dict[str, Any]


@dataclass
class Cell:
    """One register: a value, and the revision that wrote it last."""

    value: Any = None
    revision: int | None = None
    written: bool = False

    def verdict(self, value: Any, revision: int | None) -> Literal["lands", "repeats", "stale", "contradicts"]:
        if not self.written or revision is None or self.revision is None or revision > self.revision:
            return "lands"
        if revision < self.revision:
            return "stale"
        return "repeats" if value == self.value else "contradicts"


@dataclass
class Product:
    """Presence (activated or not), access (suspended or not) and licence (users, status, end) of one product."""

    presence: Cell = field(default_factory=Cell)
    access: Cell = field(default_factory=Cell)
    license: Cell = field(default_factory=Cell)
    revisioned: bool = False
    deactivated_at: datetime | None = None

    @property
    def active(self) -> bool:
        return bool(self.presence.value)

    def hears(self, said: Said, now: datetime) -> None:
        if said.revision is None and (self.revisioned or not self._allows(said)):
            return
        writes = [(getattr(self, name), value) for name, value in _writes(said).items()]
        verdicts = [cell.verdict(value, said.revision) for cell, value in writes]
        if "contradicts" in verdicts:
            return
        for (cell, value), verdict in zip(writes, verdicts, strict=True):
            if verdict == "lands":
                cell.value, cell.revision, cell.written = value, said.revision, True
                if cell is self.presence:
                    self.deactivated_at = None if value else max(now, said.at)
        self.revisioned = self.revisioned or said.revision is not None

    def _allows(self, said: Said) -> bool:
        """The life cycle, for what comes without a revision."""
        match said.type:
            case "product.activated":
                return not self.active
            case "product.suspended":
                return self.active and not self.access.value
            case "product.unsuspended":
                return self.active and bool(self.access.value)
            case _:
                return self.active


def _writes(said: Said) -> dict[str, Any]:
    license_ = (said.data.get("users"), said.data.get("status", "active"), said.data.get("expires_at"))
    match said.type:
        case "product.activated":
            return {"presence": True, "access": False, "license": license_}
        case "product.deactivated":
            return {"presence": False}
        case "product.suspended":
            return {"access": True}
        case "product.unsuspended":
            return {"access": False}
        case _:
            return {"license": license_}


@dataclass
class Tenant:
    """What commerce said of one tenant, and an operator's restores."""

    exists: bool = False
    destroyed_at: datetime | None = None
    destroyed_revision: int = -1
    products: dict[str, Product] = field(default_factory=dict)
    waiting: list[Said] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def hears(self, said: Said, now: datetime) -> None:
        if said.id in self.seen:
            return
        self.seen.add(said.id)
        if not self.exists and said.type != "tenant.created":
            self.waiting.append(said)
        else:
            self._applies(said, now)

    def _applies(self, said: Said, now: datetime) -> None:
        if self.is_over(now):
            return
        match said.type:
            case "tenant.created":
                self.exists = True
                for each in self.waiting:
                    self._applies(each, now)
                self.waiting.clear()
            case "tenant.destroyed":
                repeats = said.revision is None or said.revision <= self.destroyed_revision
                if said.revision is not None and not repeats and self.destroyed_at is None:
                    self.destroyed_at = max(now, said.at)
                self.destroyed_revision = max(self.destroyed_revision, said.revision or -1)
            case _:
                self.products.setdefault(said.product, Product()).hears(said, now)

    def is_over(self, now: datetime) -> bool:
        """Whether the restore window of a destroyed tenant has passed."""
        return self.destroyed_at is not None and now > self.destroyed_at + RESTORE_WINDOW

    def is_purged(self, now: datetime) -> bool:
        """Whether by now everything of it should be gone."""
        return self.destroyed_at is not None and now >= self.destroyed_at + RESTORE_WINDOW

    def level(self, key: str, now: datetime, *, lived: dict[str, bool]) -> Level:
        """Where the product belongs; `lived` says which ones came to live, and were not purged since."""
        product, host = self.products.get(key), HOSTS.get(key)
        if product is None or self.is_purged(now) or not product.presence.written:
            return "absent"
        hosts = self.level(host, now, lived=lived) if host else "open"
        if hosts == "absent":
            return "absent"
        if not product.active:
            over = product.deactivated_at is None or product.deactivated_at + RETENTION <= now
            return "retained" if lived.get(key) and not over else "absent"
        _, status, ends = product.license.value
        is_licensed = status == "active" and (ends is None or ends > now)
        is_open = is_licensed and not product.access.value and self.destroyed_at is None and hosts == "open"
        return "open" if is_open else "closed"
