"""What do the producers of the journeys say?

Events as commerce would send them, each with an id of its own; `tests/journeys/running.py` puts them on Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from adapters.kafka.cloudevents_writer import to_binary, to_structured
from adapters.kafka.preserved_messages import Headers

Mode = Literal["structured", "binary"]
LIFECYCLE = "tenantry.lifecycle"
COMMERCE = "tenantry.commerce"


@dataclass(frozen=True, slots=True)
class Raw:
    """A message as it lies on Kafka, good or bad."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = (("content-type", b"application/cloudevents+json"),)


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent to be sent. The same object sent twice is the same event twice."""

    type: str
    data: Mapping[str, Any]
    revision: int | None = None
    id: str = field(default_factory=lambda: uuid4().hex)
    source: str = "/journeys"
    mode: Mode = "structured"
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def raw(self) -> Raw:
        write = to_structured if self.mode == "structured" else to_binary
        headers, value = write(
            self.type, self.data, source=self.source, id=self.id, time=self.time, revision=self.revision
        )
        of_customer = self.type == "commerce.customer.updated"
        key = self.data["customer_id" if of_customer else "tenant_id"]
        return Raw(COMMERCE if of_customer else LIFECYCLE, str(key).encode(), value, headers)


def new_tenant() -> str:
    return str(uuid4())


def site_name(tenant: str) -> str:
    return f"site-{tenant}"


def created(
    tenant: str,
    *products: str | Mapping[str, Any],
    customer: str | None = None,
    administrator: Mapping[str, str] | None = None,
    revision: int | None = None,
    **data: Any,
) -> Event:
    """`tenant.created`; a product given by its key alone comes as a free one with five users."""
    return Event(
        "tenant.created",
        {
            "tenant_id": tenant,
            "customer_id": customer or f"customer-of-{tenant}"[:64],
            "site_name": site_name(tenant),
            "residency": "global",
            "administrator": administrator or person("founder"),
            "products": [offer(each) if isinstance(each, str) else dict(each) for each in products],
            **data,
        },
        revision,
    )


def offer(product: str, **data: Any) -> dict[str, Any]:
    return {"product": product, "edition": "free", "users": 5, **data}


def person(account: str) -> dict[str, str]:
    return {"account_id": account, "name": f"Name of {account}", "email": f"{account}@journeys.example"}


def customer_updated(customer: str, *administrators: Mapping[str, Any], revision: int | None = None) -> Event:
    return Event(
        "commerce.customer.updated",
        {
            "customer_id": customer,
            "name": f"Company {customer}",
            "country": "DE",
            "contacts": ["accounts@journeys.example"],
            "administrators": [{"roles": ["organization-administrator"], **each} for each in administrators],
        },
        revision,
    )


def activated(
    tenant: str, product: str, *, revision: int | None = None, mode: Mode = "structured", **data: Any
) -> Event:
    return Event("product.activated", {"tenant_id": tenant, **offer(product, **data)}, revision=revision, mode=mode)


def deactivated(tenant: str, product: str, *, revision: int | None = None) -> Event:
    return Event("product.deactivated", _about(tenant, product, reason="cancelled"), revision)


def suspended(tenant: str, product: str, *, revision: int | None = None) -> Event:
    return Event("product.suspended", _about(tenant, product, reason="unpaid"), revision)


def unsuspended(tenant: str, product: str, *, revision: int | None = None) -> Event:
    return Event("product.unsuspended", _about(tenant, product), revision)


def destroyed(tenant: str, *, revision: int | None = None) -> Event:
    return Event("tenant.destroyed", {"tenant_id": tenant, "reason": "closed account"}, revision)


def _about(tenant: str, product: str, **data: Any) -> dict[str, Any]:
    return {"tenant_id": tenant, "product": product, **data}


def raws(events: Sequence[Event | Raw]) -> list[Raw]:
    return [each.raw() if isinstance(each, Event) else each for each in events]
