"""What would sixty and more customers' tenants say in a few weeks?

A seeded stream of events, the same for the same seed: every type, both modes of CloudEvents, shuffles, duplicates,
stale revisions, producers without revisions, and everything that can be wrong with a message.

It comes in waves. A wave is sent when the one before has settled: what is deactivated in the second has lived in the
first, and is therefore retained. Inside a wave each tenant's events keep the order given here, those of a tenant with
revisions in any order at all; between tenants everything is mixed. `SCENARIOS` are the stories, one a tenant; each is
told at least once, so every level and every rule of the quarantine comes up whatever the seed.
"""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from adapters.inbound import MAX_BYTES, to_binary, to_structured

Data = dict[str, Any]

WAVES: Final = (1, 2, 3)
BEGINNING: Final = datetime(2026, 1, 12, 8, tzinfo=UTC)
PAST: Final = "2026-01-01T00:00:00Z"
FUTURE: Final = "2056-01-01T00:00:00Z"
EDITIONS: Final = ("free", "standard", "premium", "enterprise")
PRODUCTS: Final = (
    "jira-software",
    "jira-service-management",
    "jira-product-discovery",
    "confluence",
    "compass",
    "atlas",
)

# -- the file ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One message for Kafka, and the wave it belongs to. `value` is None for a tombstone."""

    wave: int
    topic: str
    key: str | None
    headers: tuple[tuple[str, str], ...]
    value: bytes | None

    def to_line(self) -> str:
        """One line of JSON; a value that is not UTF-8 stands in it as base64."""
        told: Data = {"wave": self.wave, "topic": self.topic, "key": self.key, "headers": self.headers}
        try:
            told["value"] = None if self.value is None else self.value.decode()
        except UnicodeDecodeError:
            told["value_base64"] = base64.b64encode(self.value or b"").decode()
        return json.dumps(told, ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> Entry:
        told = json.loads(line)
        text, packed = told.get("value"), told.get("value_base64")
        value = base64.b64decode(packed) if packed is not None else None if text is None else text.encode()
        headers = tuple((name, content) for name, content in told["headers"])
        return cls(told["wave"], told["topic"], told["key"], headers, value)


def write(entries: Iterable[Entry], path: Path) -> None:
    """The stream as a file of lines, for our user only: it holds names and addresses."""
    path.touch(mode=0o600)
    path.write_text("".join(f"{entry.to_line()}\n" for entry in entries))


def read(path: Path) -> list[Entry]:
    return [Entry.from_line(line) for line in path.read_text().split("\n") if line.strip()]


# -- the stream ----------------------------------------------------------------------------------------------------


def stream(
    *,
    seed: int,
    tenants: int,
    commerce_topic: str = "tenantry.commerce",
    lifecycle_topic: str = "tenantry.lifecycle",
) -> list[Entry]:
    """The messages in the order to send them in, wave by wave. At least one tenant a scenario."""
    world = _World(random.Random(seed), commerce_topic, lifecycle_topic)  # noqa: S311 - a seed is the point
    for number in range(max(tenants, len(SCENARIOS))):
        scenario = SCENARIOS[number] if number < len(SCENARIOS) else world.rng.choice(SCENARIOS)
        scenario(world.tenant())
    _bad_messages(world)
    return world.entries()


@dataclass(slots=True)
class _World:
    """What all stories share: one source of chance, one clock, the lanes in which messages stay in order."""

    rng: random.Random
    commerce_topic: str
    lifecycle_topic: str
    tenants: list[_Tenant] = field(default_factory=list)
    others: list[_Lane] = field(default_factory=list)
    said: int = 0

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def person(self, company: str, role: str | None = None) -> Data:
        first, last = self.rng.choice(_FIRST_NAMES), self.rng.choice(_LAST_NAMES)
        told: Data = {
            "account_id": f"acc-{self.rng.getrandbits(48):012x}",
            "name": f"{first} {last}",
            "email": f"{first}.{last}@{company}.example".lower(),
        }
        return told if role is None else {**told, "roles": [role]}

    def event(
        self,
        type_: str,
        data: Data,
        *,
        revision: int | None = None,
        id_: str | None = None,
        key: str | None = None,
    ) -> Entry:
        """A message of a mode that chance chooses."""
        self.said += 1
        commerce = type_ == "commerce.customer.updated"
        write_it = self.rng.choice((to_structured, to_binary))
        headers, value = write_it(
            type_,
            data,
            source="https://commerce.example/orders" if revision is not None else "https://trial.example",
            id=id_ or self.uuid(),
            time=BEGINNING + timedelta(minutes=self.said),
            revision=revision,
        )
        return Entry(
            wave=1,
            topic=self.commerce_topic if commerce else self.lifecycle_topic,
            key=key or data.get("customer_id" if commerce else "tenant_id"),
            headers=tuple((name, content.decode()) for name, content in headers),
            value=value,
        )

    def tenant(self) -> _Tenant:
        number = len(self.tenants)
        company = f"{self.rng.choice(_COMPANIES)}-{number + 1}"
        made = _Tenant(self, self.uuid(), self.uuid(), company)
        self.tenants.append(made)
        return made

    def entries(self) -> list[Entry]:
        lanes = [lane for tenant in self.tenants for lane in (tenant.lane, tenant.customer)] + self.others
        return [entry for wave in WAVES for entry in self._mixed([lane.of(wave, self.rng) for lane in lanes])]

    def _mixed(self, lanes: Sequence[list[Entry]]) -> Iterator[Entry]:
        """All lanes at once, each in its order."""
        turns = [number for number, lane in enumerate(lanes) for _ in lane]
        self.rng.shuffle(turns)
        going = [iter(lane) for lane in lanes]
        return (next(going[number]) for number in turns)


@dataclass(slots=True)
class _Lane:
    """Messages in an order of their own; with revisions the order does not matter, and is therefore shuffled."""

    shuffled: bool = True
    entries: list[Entry] = field(default_factory=list)

    def of(self, wave: int, rng: random.Random) -> list[Entry]:
        found = [entry for entry in self.entries if entry.wave == wave]
        if self.shuffled:
            rng.shuffle(found)
        for entry in list(found):
            if rng.random() < 0.12:  # at least once is what producers promise
                found.insert(rng.randint(found.index(entry) + 1, len(found)), entry)
        return found


# -- one tenant ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tenant:
    """One tenant's story, as far as it was told. Methods are in the words of the wire."""

    world: _World
    id: str
    customer_id: str
    site_name: str
    wave: int = 1
    lane: _Lane = field(default_factory=_Lane)
    customer: _Lane = field(default_factory=_Lane)
    revisions: dict[str, int] = field(default_factory=dict)

    @property
    def rng(self) -> random.Random:
        return self.world.rng

    def without_revisions(self) -> None:
        self.lane.shuffled = False

    def next_wave(self) -> None:
        self.wave += 1

    def say(self, type_: str, data: Data, *, revision: int | None = None) -> Entry:
        entry = replace(self.world.event(type_, {"tenant_id": self.id, **data}, revision=revision), wave=self.wave)
        self.lane.entries.append(entry)
        return entry

    def revision(self, key: str) -> int | None:
        """The next one of a product (or of the tenant): numbers go up, not always by one."""
        if not self.lane.shuffled:
            return None
        self.revisions[key] = self.revisions.get(key, 0) + self.rng.randint(1, 3)
        return self.revisions[key]

    def offer(self, product: str, **more: Any) -> Data:
        app = product not in PRODUCTS
        edition = self.rng.choice(EDITIONS[:2] if app else EDITIONS)
        return {"product": product, "edition": edition, "users": self.rng.randint(5, 5000), **more}

    def created(self, *products: str, pinned: str | None = None, near: str | None = None) -> None:
        """With the products as activations in it."""
        entries: list[Data] = []
        for product in products:
            revision = self.revision(product)
            entries.append(self.offer(product) if revision is None else self.offer(product, revision=revision))
        region = pinned or near
        data: Data = {
            "customer_id": self.customer_id,
            "site_name": self.site_name,
            "residency": "pinned" if pinned else "global",
            "administrator": self.world.person(self.site_name),
            "products": entries,
        }
        self.say("tenant.created", data if region is None else {**data, "region": region}, revision=self.revision(""))

    def activated(self, product: str, **more: Any) -> None:
        self.say("product.activated", self.offer(product, **more), revision=self.revision(product))

    def deactivated(self, product: str) -> None:
        reason = self.rng.choice(("cancelled", "trial ended", "moved to another product"))
        self.say("product.deactivated", {"product": product, "reason": reason}, revision=self.revision(product))

    def suspended(self, product: str) -> None:
        reason = self.rng.choice(("unpaid", "abuse", "export control"))
        self.say("product.suspended", {"product": product, "reason": reason}, revision=self.revision(product))

    def unsuspended(self, product: str) -> None:
        self.say("product.unsuspended", {"product": product}, revision=self.revision(product))

    def licensed(self, product: str, *, status: str = "active", **more: Any) -> None:
        data = {**self.offer(product, **more), "status": status}
        self.say("license.updated", data, revision=self.revision(product))

    def destroyed(self) -> None:
        self.say("tenant.destroyed", {"reason": "contract ended"}, revision=self.revision(""))

    def administrated(self, *people: Data, country: str = "DE") -> None:
        """The customer, whole, as commerce knows it now."""
        self.revisions["customer"] = self.revisions.get("customer", 0) + 1
        data: Data = {
            "customer_id": self.customer_id,
            "name": self.site_name.replace("-", " ").title(),
            "country": country,
            "contacts": [f"+49 30 {self.rng.randint(100000, 999999)}", {"invoices": f"ap@{self.site_name}.example"}],
            "administrators": list(people),
        }
        entry = self.world.event("commerce.customer.updated", data, revision=self.revisions["customer"])
        self.customer.entries.append(replace(entry, wave=self.wave))

    def team(self, size: int) -> list[Data]:
        return [self.world.person(self.site_name, self.rng.choice(("billing", "organisation"))) for _ in range(size)]


# -- the stories ---------------------------------------------------------------------------------------------------


def _one_product(tenant: _Tenant) -> None:
    tenant.administrated(*tenant.team(2))
    tenant.created(tenant.rng.choice(PRODUCTS), near=tenant.rng.choice(("eu", "us", None)))


def _a_family_and_more(tenant: _Tenant) -> None:
    """Three products in one database, an app, a wiki in its own; an administrator leaves. The tour at the end."""
    stays, goes = tenant.team(2)
    tenant.administrated(stays, goes, country="US")
    tenant.created("jira-software", "jira-service-management", pinned="us")
    tenant.activated("jira-product-discovery")
    tenant.activated("timesheets")
    tenant.activated("confluence")
    tenant.suspended("jira-product-discovery")
    tenant.next_wave()
    tenant.administrated(stays, country="US")
    tenant.deactivated("confluence")


def _a_second_site_of_that_customer(tenant: _Tenant) -> None:
    """Who leaves the customer loses access here as well."""
    tenant.customer_id = tenant.world.tenants[1].customer_id
    tenant.created("atlas", pinned="us")


def _a_pair_pinned(tenant: _Tenant) -> None:
    tenant.administrated(*tenant.team(1))
    tenant.created("jira-software", "jira-service-management", pinned=tenant.rng.choice(("eu", "us")))


def _nobody_knows_the_customer(tenant: _Tenant) -> None:
    tenant.created("compass", near="us")


def _products_before_their_tenant(tenant: _Tenant) -> None:
    """Everything waits; the tenant comes last."""
    tenant.lane.shuffled = False
    for revision, product in enumerate(("confluence", "atlas"), 1):
        tenant.say("product.activated", tenant.offer(product), revision=revision)
    tenant.say("product.suspended", {"product": "atlas", "reason": "unpaid"}, revision=9)
    data = {
        "customer_id": tenant.customer_id,
        "site_name": tenant.site_name,
        "residency": "global",
        "administrator": tenant.world.person(tenant.site_name),
        "products": [],
    }
    tenant.say("tenant.created", data, revision=1)


def _suspended(tenant: _Tenant) -> None:
    tenant.administrated(*tenant.team(1))
    tenant.created("confluence", "atlas")
    tenant.suspended("confluence")


def _suspended_later_then_unsuspended(tenant: _Tenant) -> None:
    tenant.created("jira-software", near="eu")
    tenant.next_wave()
    tenant.suspended("jira-software")
    tenant.next_wave()
    tenant.unsuspended("jira-software")


def _suspended_and_unsuspended_at_once(tenant: _Tenant) -> None:
    tenant.created("compass", "confluence")
    tenant.suspended("compass")
    tenant.unsuspended("compass")


def _license_inactive(tenant: _Tenant) -> None:
    tenant.created("jira-service-management", near="us")
    tenant.licensed("jira-service-management", status="inactive")


def _expired(tenant: _Tenant) -> None:
    tenant.created()
    tenant.activated("confluence", expires_at=PAST)
    tenant.activated("atlas", expires_at=FUTURE)


def _expired_then_renewed(tenant: _Tenant) -> None:
    tenant.created("compass")
    tenant.licensed("compass", expires_at=PAST)
    tenant.next_wave()
    tenant.licensed("compass", expires_at=FUTURE)


def _upgraded_with_stale_news(tenant: _Tenant) -> None:
    """What was said of the licence before the last word on it comes after it, and changes nothing."""
    tenant.created("confluence")
    for _ in range(3):
        tenant.licensed("confluence")
    tenant.next_wave()
    tenant.say(
        "license.updated",
        {**tenant.offer("confluence", users=1), "status": "inactive"},
        revision=tenant.revisions["confluence"] - 1,
    )


def _left_after_living(tenant: _Tenant) -> None:
    tenant.administrated(*tenant.team(2))
    tenant.created("confluence", "compass", near=tenant.rng.choice(("eu", "us")))
    tenant.next_wave()
    tenant.deactivated("confluence")


def _one_of_a_family_left(tenant: _Tenant) -> None:
    tenant.created("jira-software", "jira-product-discovery")
    tenant.next_wave()
    tenant.deactivated("jira-product-discovery")


def _left_and_came_back(tenant: _Tenant) -> None:
    tenant.created("atlas")
    tenant.next_wave()
    tenant.deactivated("atlas")
    tenant.next_wave()
    tenant.activated("atlas")


def _never_lived(tenant: _Tenant) -> None:
    """Deactivated before the activation arrives, and by a higher revision: it is never provisioned."""
    tenant.created("compass")
    before = tenant.revision("jira-software")
    activation = tenant.offer("jira-software")
    tenant.deactivated("jira-software")
    tenant.next_wave()
    tenant.say("product.activated", activation, revision=before)


def _destroyed(tenant: _Tenant) -> None:
    tenant.administrated(*tenant.team(1))
    tenant.created("jira-software", "confluence", near="us")
    tenant.next_wave()
    tenant.deactivated("confluence")
    tenant.next_wave()
    tenant.destroyed()


def _destroyed_at_once(tenant: _Tenant) -> None:
    tenant.created("jira-software")
    tenant.destroyed()


def _apps(tenant: _Tenant) -> None:
    """One app is open with its host, one closed with a suspended host, one is taken away alone."""
    tenant.created("jira-software", "confluence")
    tenant.activated("timesheets")
    tenant.activated("diagrams")
    tenant.suspended("confluence")
    tenant.next_wave()
    tenant.deactivated("timesheets")


def _an_app_without_its_host(tenant: _Tenant) -> None:
    tenant.created("compass")
    tenant.activated("diagrams")


def _an_empty_site(tenant: _Tenant) -> None:
    tenant.administrated(*tenant.team(3), country="CH")
    tenant.created()


def _two_regions_on_one_site(tenant: _Tenant) -> None:
    tenant.created("jira-software", near="eu")
    tenant.activated("confluence", residency="pinned", region="us")


def _no_revisions(tenant: _Tenant) -> None:
    """A trial system that counts nothing: the order of arrival is all there is."""
    tenant.without_revisions()
    tenant.created("jira-software", "confluence", near=tenant.rng.choice(("eu", "us")))
    tenant.suspended("jira-software")
    tenant.suspended("confluence")
    tenant.unsuspended("confluence")
    tenant.licensed("confluence")
    tenant.next_wave()
    tenant.deactivated("confluence")
    tenant.activated("compass")


def _refused_by_the_life_cycle(tenant: _Tenant) -> None:
    """Each of the second wave is against what is already so: already-suspended, not-active and so on."""
    tenant.without_revisions()
    tenant.created("confluence")
    tenant.suspended("confluence")
    tenant.next_wave()
    tenant.suspended("confluence")
    tenant.activated("confluence")
    tenant.deactivated("atlas")
    tenant.unsuspended("confluence")
    tenant.unsuspended("confluence")


def _forgot_its_revision(tenant: _Tenant) -> None:
    tenant.created("atlas")
    tenant.next_wave()
    tenant.say("product.suspended", {"product": "atlas", "reason": "unpaid"})


def _name_is_taken(tenant: _Tenant) -> None:
    """Wants the site name of an earlier tenant, and waits for it."""
    tenant.wave = 2
    tenant.site_name = tenant.world.tenants[0].site_name
    tenant.created("confluence")


def _pinned_away_from_its_family(tenant: _Tenant) -> None:
    """A permanent failure: the product is given up, its sibling lives on."""
    tenant.created("jira-software", near="eu")
    tenant.next_wave()
    tenant.activated("jira-service-management", residency="pinned", region="us")


SCENARIOS: Final[tuple[Callable[[_Tenant], None], ...]] = (
    _one_product,
    _a_family_and_more,
    _a_second_site_of_that_customer,
    _a_pair_pinned,
    _nobody_knows_the_customer,
    _products_before_their_tenant,
    _suspended,
    _suspended_later_then_unsuspended,
    _suspended_and_unsuspended_at_once,
    _license_inactive,
    _expired,
    _expired_then_renewed,
    _upgraded_with_stale_news,
    _left_after_living,
    _one_of_a_family_left,
    _left_and_came_back,
    _never_lived,
    _destroyed,
    _destroyed_at_once,
    _apps,
    _an_app_without_its_host,
    _an_empty_site,
    _two_regions_on_one_site,
    _no_revisions,
    _refused_by_the_life_cycle,
    _forgot_its_revision,
    _name_is_taken,
    _pinned_away_from_its_family,
)


# -- what is wrong with messages -----------------------------------------------------------------------------------


def _bad_messages(world: _World) -> None:
    """One of each kind, in the second wave, when there is something to contradict; and what waits for ever."""
    victim = world.tenants[0]
    activation = victim.offer("confluence", tenant_id=victim.id)
    text = json.dumps(
        {"specversion": "1.0", "id": "x-1", "source": "https://trial.example", "type": "product.activated"}
    )[:-1]
    structured = (("content-type", "application/cloudevents+json"),)
    raw: list[tuple[tuple[tuple[str, str], ...], bytes | None]] = [
        (structured, text.encode()),
        (structured, f'{text}, "data": {{"users": NaN}}}}'.encode()),
        (structured, f'{text}, "id": "x-2", "data": {{}}}}'.encode()),
        (structured, b"\xff\xfe not UTF-8"),
        ((), b'{"order": 4711, "wants": "everything"}'),
        (structured, f'{text}, "data": {{"note": "{"x" * MAX_BYTES}"}}}}'.encode()),
        (structured, None),
        (structured, json.dumps({"specversion": "1.0", "type": "product.activated", "data": activation}).encode()),
    ]
    lane = _Lane(shuffled=False)
    lane.entries += [Entry(2, world.lifecycle_topic, victim.id, headers, value) for headers, value in raw]
    bad = [
        world.event("product.exploded", activation),
        world.event("product.activated", {**activation, "product": "jira-hardware"}, revision=1),
        world.event("product.activated", {**activation, "edition": "gold"}, revision=1),
        world.event("product.activated", {**activation, "users": "many"}, revision=1),
        world.event("product.activated", {**activation, "expires": FUTURE}, revision=1),
        world.event("license.updated", {**activation, "status": "suspended"}, revision=1),
        world.event("product.suspended", {"tenant_id": victim.id, "product": "confluence"}, revision=1),
    ]
    lane.entries += [replace(entry, wave=2) for entry in bad]
    world.others.append(lane)
    _contradictions(world)
    _for_a_tenant_that_never_comes(world)


def _contradictions(world: _World) -> None:
    """The same revision, the same id, or the same tenant id, with other content."""
    tenant = world.tenant()
    tenant.lane.shuffled = False
    tenant.created("confluence")
    said = {**tenant.offer("confluence", users=100), "status": "active"}
    tenant.say("license.updated", said, revision=50)
    id_ = world.uuid()
    data = {"tenant_id": tenant.id, **said, "users": 101}
    tenant.lane.entries.append(world.event("license.updated", data, revision=51, id_=id_))
    tenant.next_wave()
    tenant.say("license.updated", {**said, "users": 999}, revision=51)
    other = world.event("license.updated", {**data, "users": 1}, revision=52, id_=id_)
    tenant.lane.entries.append(replace(other, wave=2))
    tenant.site_name += "-again"
    tenant.created()


def _for_a_tenant_that_never_comes(world: _World) -> None:
    lane, nobody = _Lane(), world.uuid()
    offer = {"tenant_id": nobody, "product": "compass", "edition": "free", "users": 3}
    lane.entries.append(world.event("product.activated", offer, revision=1))
    world.others.append(lane)


_COMPANIES: Final = (
    "acorn",
    "bluebird",
    "copper",
    "delta",
    "ember",
    "fjord",
    "granite",
    "harbor",
    "indigo",
    "juniper",
    "kestrel",
    "lumen",
    "maple",
    "nimbus",
    "orchard",
)
_FIRST_NAMES: Final = (
    "Ada",
    "Bela",
    "Chloe",
    "Dario",
    "Edith",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kira",
    "Liam",
    "Mona",
    "Nils",
    "Olga",
    "Priya",
)
_LAST_NAMES: Final = (
    "Adler",
    "Bauer",
    "Costa",
    "Diaz",
    "Evans",
    "Fischer",
    "Garcia",
    "Haas",
    "Ito",
    "Jansen",
    "Kim",
    "Lopez",
    "Meyer",
    "Novak",
    "Rossi",
)
