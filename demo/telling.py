"""Events of a tenant's story, in the format of the wire.

A `Teller` writes the events of one tenant to lanes (sequences of messages in order), and the `World` mixes all lanes
into one stream. All random numbers come from one seeded source, and all times from one clock that advances with each
event.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from adapters.kafka.cloudevents_writer import to_binary, to_structured
from demo.entries import Entry

Data = dict[str, Any]

WAVES: Final = (1, 2, 3)
BEGINNING: Final = datetime(2026, 1, 12, 8, tzinfo=UTC)
EDITIONS: Final = ("free", "standard", "premium", "enterprise")
PRODUCTS: Final = (
    "jira-software",
    "jira-service-management",
    "jira-product-discovery",
    "confluence",
    "compass",
    "atlas",
)


@dataclass(slots=True)
class World:
    """The shared parts of all stories: one random source, one clock, and the lanes, which keep messages in order."""

    rng: random.Random
    commerce_topic: str
    lifecycle_topic: str
    tenants: list[Teller] = field(default_factory=list)
    others: list[Messages] = field(default_factory=list)
    count: int = 0

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def person(self, company: str, role: str | None = None) -> Data:
        first, last = self.rng.choice(_FIRST_NAMES), self.rng.choice(_LAST_NAMES)
        person: Data = {
            "account_id": f"acc-{self.rng.getrandbits(48):012x}",
            "name": f"{first} {last}",
            "email": f"{first}.{last}@{company}.example".lower(),
        }
        return person if role is None else {**person, "roles": [role]}

    def event(
        self,
        type_: str,
        data: Data,
        *,
        revision: int | None = None,
        id_: str | None = None,
        key: str | None = None,
    ) -> Entry:
        """A message in a random mode."""
        self.count += 1
        commerce = type_ == "commerce.customer.updated"
        write_it = self.rng.choice((to_structured, to_binary))
        headers, value = write_it(
            type_,
            data,
            source="https://commerce.example/orders" if revision is not None else "https://trial.example",
            id=id_ or self.uuid(),
            time=BEGINNING + timedelta(minutes=self.count),
            revision=revision,
        )
        return Entry(
            wave=1,
            topic=self.commerce_topic if commerce else self.lifecycle_topic,
            key=key or data.get("customer_id" if commerce else "tenant_id"),
            headers=tuple((name, content.decode()) for name, content in headers),
            value=value,
        )

    def tenant(self) -> Teller:
        number = len(self.tenants)
        company = f"{self.rng.choice(_COMPANIES)}-{number + 1}"
        made = Teller(self, self.uuid(), self.uuid(), company)
        self.tenants.append(made)
        return made

    def entries(self) -> list[Entry]:
        sequences = [
            messages for tenant in self.tenants for messages in (tenant.messages, tenant.customer)
        ] + self.others
        return [
            entry for wave in WAVES for entry in self._mixed([messages.of(wave, self.rng) for messages in sequences])
        ]

    def _mixed(self, sequences: Sequence[list[Entry]]) -> Iterator[Entry]:
        """All lanes at once, each in its order."""
        turns = [number for number, messages in enumerate(sequences) for _ in messages]
        self.rng.shuffle(turns)
        going = [iter(messages) for messages in sequences]
        return (next(going[number]) for number in turns)


@dataclass(slots=True)
class Messages:
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
class Teller:
    """One tenant's story so far. Each method adds events in the format of the wire."""

    world: World
    id: str
    customer_id: str
    site_name: str
    wave: int = 1
    messages: Messages = field(default_factory=Messages)
    customer: Messages = field(default_factory=Messages)
    revisions: dict[str, int] = field(default_factory=dict)

    @property
    def rng(self) -> random.Random:
        return self.world.rng

    def without_revisions(self) -> None:
        self.messages.shuffled = False

    def next_wave(self) -> None:
        self.wave += 1

    def say(self, type_: str, data: Data, *, revision: int | None = None) -> Entry:
        entry = replace(self.world.event(type_, {"tenant_id": self.id, **data}, revision=revision), wave=self.wave)
        self.messages.entries.append(entry)
        return entry

    def revision(self, key: str) -> int | None:
        """The next one of a product (or of the tenant): numbers go up, not always by one."""
        if not self.messages.shuffled:
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


# -- names ----------------------------------------------------------------------------------------------------------

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
