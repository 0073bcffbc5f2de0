"""What should be there, by what commerce said and nothing else?

The rules of registers, levels and the destroy guard once more, written down apart from domain/: a `Tenant` hears each
message when it is delivered, and says the level of each product at any time. What commerce cannot know is asked for or
told: whether a product ever came to live, and that a purge began, or is held.
"""

from __future__ import annotations

from collections.abc import Iterable
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
class Guard:
    """At most `limit` destructive facts in a window, of all tenants together; what is beyond is held."""

    limit: int = 1_000_000
    window: timedelta = timedelta(minutes=10)
    times: list[datetime] = field(default_factory=list)

    def has_room(self, at: datetime) -> bool:
        """Whether one more may pass; time never goes back."""
        at = max([at, *self.times[-1:]])
        return sum(then > at - self.window for then in self.times) < self.limit

    def counts(self, at: datetime) -> None:
        self.times.append(max([at, *self.times[-1:]]))


@dataclass(frozen=True)
class Held:
    """A change that the guard holds. `writes`: how often the product's presence had been written when it came."""

    change: Literal["destroy", "deactivate", "purge"]
    product: str = ""
    said: Said | None = None
    writes: int = 0

    @property
    def revision(self) -> int | None:
        return self.said.revision if self.said else None


@dataclass
class Cell:
    """One register: a value, the revision that wrote it last, and how often it was written."""

    value: Any = None
    revision: int | None = None
    writes: int = 0

    @property
    def written(self) -> bool:
        return self.writes > 0

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
    is_going: bool = False
    """Whether its purge has begun, and nobody has activated it since."""

    @property
    def active(self) -> bool:
        return bool(self.presence.value)

    def accepts(self, said: Said, held: Iterable[Held]) -> bool:
        """Whether the message writes anything; what does not is stale, or lies in quarantine."""
        deactivations = [each for each in held if (each.change, each.product) == ("deactivate", said.product)]
        if said.revision is None:
            return not self.revisioned and self._allows(said, is_leaving=bool(deactivations))
        verdicts = [getattr(self, name).verdict(value, said.revision) for name, value in _writes(said).items()]
        if "contradicts" in verdicts or "lands" not in verdicts:
            return False
        asked = [-1 if each.revision is None else each.revision for each in deactivations]
        if said.type == "product.deactivated":
            return all(said.revision > each for each in asked)
        return "presence" not in _writes(said) or said.revision not in asked

    def takes_away(self, said: Said) -> bool:
        """Whether somebody loses by it who has the product now."""
        return said.type == "product.deactivated" and self.active

    def keeps(self, said: Said, now: datetime) -> None:
        """What the message says is written where it lands."""
        for name, value in _writes(said).items():
            cell = getattr(self, name)
            if cell.verdict(value, said.revision) == "lands":
                cell.value, cell.revision, cell.writes = value, said.revision, cell.writes + 1
                if cell is self.presence:
                    self.deactivated_at = None if value else max(now, said.at)
                    self.is_going = self.is_going and not value
        self.revisioned = self.revisioned or said.revision is not None

    def _allows(self, said: Said, *, is_leaving: bool) -> bool:
        """The life cycle, for what comes without a revision; `is_leaving`: a deactivation is held."""
        match said.type:
            case "product.activated":
                return not self.active or is_leaving
            case "product.deactivated":
                return self.active and not is_leaving
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
    """What commerce said of one tenant, what the guard holds of it in the order of arrival, and what operators did."""

    guard: Guard = field(default_factory=Guard)
    exists: bool = False
    destroyed_at: datetime | None = None
    destroyed_revision: int = -1
    products: dict[str, Product] = field(default_factory=dict)
    waiting: list[Said] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    held: list[Held] = field(default_factory=list)
    is_going: bool = False
    """Whether its purge has begun: nothing brings it back."""

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
                is_news = not repeats and self.destroyed_at is None and not self.holds("destroy")
                if is_news and self._passes(Held("destroy", said=said), now):
                    self.destroyed_at = max(now, said.at)
                self.destroyed_revision = max(self.destroyed_revision, said.revision or -1)
            case _:
                self._applies_to_product(self.products.setdefault(said.product, Product()), said, now)

    def _applies_to_product(self, product: Product, said: Said, now: datetime) -> None:
        if not product.accepts(said, self.held):
            return
        change = Held("deactivate", said.product, said, product.presence.writes)
        if product.takes_away(said) and not self._passes(change, now):
            product.revisioned = product.revisioned or said.revision is not None
            return
        product.keeps(said, now)
        self._drops_what_was_overtaken()

    # -- the destroy guard --------------------------------------------------------------------------------------------

    def holds(self, change: str, product: str = "") -> bool:
        return any((each.change, each.product) == (change, product) for each in self.held)

    def _passes(self, change: Held, now: datetime) -> bool:
        """A held change changes nothing; one that passes counts. What is held and asked again is held for the last."""
        same = [each for each in self.held if (each.change, each.product) == (change.change, change.product)]
        if self.guard.has_room(now) and not same:
            self.guard.counts(now)
            return True
        self.held = [each for each in self.held if each not in same] + [change]
        return False

    def _drops_what_was_overtaken(self) -> None:
        self.held = [each for each in self.held if self._stands(each)]

    def _stands(self, held: Held) -> bool:
        """Whether it would still do something: nothing that came since has overtaken it."""
        if not held.product:
            return (self.destroyed_at is None) == (held.change == "destroy")
        presence = self.products[held.product].presence
        if held.change == "purge" or held.revision is None:
            return presence.writes == held.writes
        return presence.verdict(False, held.revision) == "lands"

    def purge_is_held(self, product: str) -> None:
        """Of a product, or of the whole tenant (an empty name)."""
        writes = self.products[product].presence.writes if product else 0
        self.held.append(Held("purge", product, writes=writes))

    def purge_began(self, products: Iterable[str]) -> None:
        """Of those products, or of the whole tenant (none): from there nothing else of it is held."""
        named = tuple(products)
        self.is_going = self.is_going or not named
        for name in self.products.keys() & set(named):
            self.products[name].is_going = True
        self.held = [each for each in self.held if named and not (each.change == "purge" and each.product in named)]

    def approves(self, now: datetime) -> None:
        """An operator lets all pass that is held, as if it came now; it does not count. Purges begin by themselves."""
        held, self.held = self.held, []
        for each in held:
            if each.said is None or not self._stands(each):
                continue
            if each.change == "destroy":
                self.destroyed_at = max(now, each.said.at)
            else:
                self.products[each.product].keeps(each.said, now)

    def rejects(self) -> None:
        """An operator drops what is held. What time asks for it would ask for again: purges stay."""
        self.held = [each for each in self.held if each.change == "purge"]

    def restores(self) -> None:
        """An operator undoes the destruction."""
        self.destroyed_at = None
        self._drops_what_was_overtaken()

    # -- levels -------------------------------------------------------------------------------------------------------

    def is_over(self, now: datetime) -> bool:
        """Whether the restore window of a destroyed tenant has passed."""
        return self.destroyed_at is not None and now > self.destroyed_at + RESTORE_WINDOW

    def is_purged(self, now: datetime) -> bool:
        """Whether by now everything of it should be gone."""
        is_due = self.destroyed_at is not None and now >= self.destroyed_at + RESTORE_WINDOW
        return is_due and not self.holds("purge")

    def level(
        self, key: str, now: datetime, *, lived: dict[str, bool], purges: Literal["due", "begun"] = "due"
    ) -> Level:
        """Where the product belongs; `lived` says which ones came to live, and were not purged since.

        `purges`: those that are due count as if they were over, or only those that have begun: an operator who holds a
        scope keeps them back, and commerce knows nothing of it.
        """
        product, host = self.products.get(key), HOSTS.get(key)
        is_gone = self.is_purged(now) if purges == "due" else self.is_going
        if product is None or is_gone or not product.presence.written:
            return "absent"
        hosts = self.level(host, now, lived=lived, purges=purges) if host else "open"
        if hosts == "absent":
            return "absent"
        if not product.active:
            is_over = product.deactivated_at is None or product.deactivated_at + RETENTION <= now
            is_due = is_over and not self.holds("purge", key)
            is_gone = is_due if purges == "due" else product.is_going
            return "retained" if lived.get(key) and not is_gone else "absent"
        _, status, ends = product.license.value
        is_licensed = status == "active" and (ends is None or ends > now)
        is_open = is_licensed and not product.access.value and self.destroyed_at is None and hosts == "open"
        return "open" if is_open else "closed"
