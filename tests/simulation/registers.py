"""What should be there, by what commerce said and nothing else?

The rules of registers, levels and the destroy guard once more, written down apart from domain/: a `Tenant` hears each
message when it is delivered, and says the level of each product at any time. What commerce cannot know is asked for or
told: whether a product ever came to live, and that a purge began, or is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Level = Literal["open", "closed", "retained", "absent"]

RETENTION = timedelta(days=60)
RESTORE_WINDOW = timedelta(days=14)
COOL_DOWN = timedelta(days=30)
HOSTS = {"timesheets": "jira-software"}


@dataclass(frozen=True)
class Message:
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
    """At most `limit` guarded facts in a window, of all tenants together; what is beyond is held."""

    limit: int = 1_000_000
    window: timedelta = timedelta(minutes=10)
    times: list[datetime] = field(default_factory=list)

    def has_room(self, at: datetime) -> bool:
        """Whether one more may pass; time never goes back."""
        at = max([at, *self.times[-1:]])
        return sum(then > at - self.window for then in self.times) < self.limit

    def counts(self, at: datetime) -> None:
        self.times.append(max([at, *self.times[-1:]]))


CLOSINGS = {"product.suspended": "suspend", "license.updated": "license", "product.activated": "activate"}


@dataclass(frozen=True)
class Held:
    """A change that the guard holds. `writes`: how often each register of the product had been written when it came."""

    change: Literal["destroy", "deactivate", "purge", "suspend", "license", "activate"]
    product: str = ""
    said: Message | None = None
    writes: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_closing(self) -> bool:
        return self.change in CLOSINGS.values()

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

    @property
    def writes(self) -> dict[str, int]:
        return {name: getattr(self, name).writes for name in ("presence", "access", "license")}

    def is_open(self, now: datetime) -> bool:
        """By its own registers."""
        if not self.active or self.access.value:
            return False
        _, status, ends = self.license.value
        return status == "active" and (ends is None or ends > now)

    def shuts(self, said: Message, now: datetime) -> bool:
        """Whether the message writes a register so that the product cannot be open."""
        _, status, ends = _license(said)
        name = "access" if said.type == "product.suspended" else "license"
        is_over = said.type in CLOSINGS and (status == "inactive" or (ends is not None and ends <= now))
        if name == "license" and not is_over:
            return False
        cell: Cell = getattr(self, name)
        return cell.verdict(_writes(said)[name], said.revision) == "lands"

    def accepts(self, said: Message, held: Iterable[Held], now: datetime) -> bool:
        """Whether the message writes anything; what does not is stale, or lies in quarantine."""
        said_before = [each for each in held if each.product == said.product and each.said is not None]
        if said.revision is None:
            return not self.revisioned and self._allows(said, {each.change for each in said_before})
        verdicts = [getattr(self, name).verdict(value, said.revision) for name, value in _writes(said).items()]
        if "contradicts" in verdicts or "lands" not in verdicts:
            return False
        here = _writes(said)
        for each in said_before:
            assert each.said is not None
            there = _writes(each.said)
            if each.revision == said.revision and any(there[name] != here[name] for name in there.keys() & here):
                return False
            is_same = _change(said) == each.change and (each.change == "deactivate" or self.shuts(said, now))
            if is_same and each.revision is not None and said.revision <= each.revision:
                return False
        return True

    def takes_away(self, said: Message) -> bool:
        """Whether somebody loses by it who has the product now."""
        return said.type == "product.deactivated" and self.active

    def keeps(self, said: Message, now: datetime) -> None:
        """What the message says is written where it lands."""
        for name, value in _writes(said).items():
            cell = getattr(self, name)
            if cell.verdict(value, said.revision) == "lands":
                cell.value, cell.revision, cell.writes = value, said.revision, cell.writes + 1
                if cell is self.presence:
                    self.deactivated_at = None if value else _counts(said.at, now)
                    self.is_going = self.is_going and not value
        self.revisioned = self.revisioned or said.revision is not None

    def _allows(self, said: Message, held: Set[str]) -> bool:
        """The life cycle, for what comes without a revision; `held`: the changes of the product that are held."""
        match said.type:
            case "product.activated":
                return not self.active or "deactivate" in held
            case "product.deactivated":
                return self.active and "deactivate" not in held
            case "product.suspended":
                return self.active and not self.access.value and "suspend" not in held
            case "product.unsuspended":
                return "suspend" in held or (self.active and bool(self.access.value))
            case _:
                return self.active


def _counts(said: datetime, now: datetime) -> datetime:
    """From when deadlines run: a time more than a day ahead of the recording counts as that."""
    return now if said > now + timedelta(days=1) else max(now, said)


def _change(said: Message) -> str:
    return "deactivate" if said.type == "product.deactivated" else CLOSINGS.get(said.type, "")


def _license(said: Message) -> tuple[Any, Any, Any]:
    return said.data.get("users"), said.data.get("status", "active"), said.data.get("expires_at")


def _writes(said: Message) -> dict[str, Any]:
    license_ = _license(said)
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
    closing_guard: Guard = field(default_factory=Guard)
    exists: bool = False
    destroyed_at: datetime | None = None
    destroyed_revision: int = -1
    products: dict[str, Product] = field(default_factory=dict)
    waiting: list[Message] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    held: list[Held] = field(default_factory=list)
    is_going: bool = False
    """Whether its purge has begun: nothing brings it back."""
    _is_new: bool = True
    """Whether it was created by the message at hand: what had waited for it comes with it, and nobody loses by that."""

    def hears(self, said: Message, now: datetime) -> None:
        if said.id in self.seen:
            return
        self.seen.add(said.id)
        self._is_new = not self.exists
        if not self.exists and said.type != "tenant.created":
            self.waiting.append(said)
        else:
            self._applies(said, now)

    def _applies(self, said: Message, now: datetime) -> None:
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
                    self.destroyed_at = _counts(said.at, now)
                self.destroyed_revision = max(self.destroyed_revision, said.revision or -1)
            case _:
                self._applies_to_product(self.products.setdefault(said.product, Product()), said, now)

    def _applies_to_product(self, product: Product, said: Message, now: datetime) -> None:
        if not product.accepts(said, self.held, now):
            return
        if product.takes_away(said):
            change = Held("deactivate", said.product, said, product.writes)
            passes = self._passes(change, now)
        elif self._closes(product, said, now):
            change = Held(CLOSINGS[said.type], said.product, said, product.writes)  # type: ignore[arg-type]
            passes = self._passes(change, now)
        else:
            passes = True
        if not passes:
            product.revisioned = product.revisioned or said.revision is not None
            return
        product.keeps(said, now)
        self._drops_what_was_overtaken()

    # -- the destroy guard --------------------------------------------------------------------------------------------

    def holds(self, change: str, product: str = "") -> bool:
        return any((each.change, each.product) == (change, product) for each in self.held)

    def _closes(self, product: Product, said: Message, now: datetime) -> bool:
        """Whether somebody who has the product open loses by it, or an operator is asked about the like already."""
        is_at_stake = product.is_open(now) and not self._is_new
        return product.shuts(said, now) and (is_at_stake or self._holds_closing(said.product))

    def _holds_closing(self, product: str) -> bool:
        return any(each.is_closing and each.product == product for each in self.held)

    def _passes(self, change: Held, now: datetime) -> bool:
        """A held change changes nothing; one that passes counts. What is held and asked again is held for the last."""
        same = [each for each in self.held if (each.change, each.product) == (change.change, change.product)]
        guard = self.closing_guard if change.is_closing else self.guard
        is_asked = self._holds_closing(change.product) if change.is_closing else bool(same)
        if guard.has_room(now) and not is_asked:
            guard.counts(now)
            return True
        self.held = [each for each in self.held if each not in same] + [change]
        return False

    def _drops_what_was_overtaken(self) -> None:
        self.held = [each for each in self.held if self._stands(each)]

    def _stands(self, held: Held) -> bool:
        """Whether it would still do something: nothing that came since has overtaken it."""
        if not held.product:
            return (self.destroyed_at is None) == (held.change == "destroy")
        product = self.products[held.product]
        if held.said is None:
            return product.writes["presence"] == held.writes["presence"]
        values = _writes(held.said)
        if held.revision is None:
            return any(product.writes[name] == held.writes[name] for name in values)
        return any(getattr(product, name).verdict(value, held.revision) == "lands" for name, value in values.items())

    def purge_is_held(self, product: str) -> None:
        """Of a product, or of the whole tenant (an empty name)."""
        writes = self.products[product].writes if product else {}
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
                self.destroyed_at = _counts(each.said.at, now)
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
        self, key: str, now: datetime, *, has_converged: dict[str, bool], purges: Literal["due", "begun"] = "due"
    ) -> Level:
        """Where the product belongs; `lived` says which ones came to live, and were not purged since.

        `purges`: those that are due count as if they were over, or only those that have begun: an operator who holds a
        scope keeps them back, and commerce knows nothing of it.
        """
        product, host = self.products.get(key), HOSTS.get(key)
        is_gone = self.is_purged(now) if purges == "due" else self.is_going
        if product is None or is_gone or not product.presence.written:
            return "absent"
        hosts = self.level(host, now, has_converged=has_converged, purges=purges) if host else "open"
        if hosts == "absent":
            return "absent"
        if not product.active:
            is_over = product.deactivated_at is None or product.deactivated_at + RETENTION <= now
            is_due = is_over and not self.holds("purge", key)
            is_gone = is_due if purges == "due" else product.is_going
            return "retained" if has_converged.get(key) and not is_gone else "absent"
        _, status, ends = product.license.value
        is_licensed = status == "active" and (ends is None or ends > now)
        is_open = is_licensed and not product.access.value and self.destroyed_at is None and hosts == "open"
        return "open" if is_open else "closed"
