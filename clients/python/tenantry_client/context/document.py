"""The tenant context document: what a service needs to know of one tenant, in one record.

The document comes from the log alone and closes on intent: a level is the lower of the desired and the actual one. Two
things are left to the reader, since they depend on its clock and on its question: a license that has expired closes its
product without an event, and `require` asks for one product and one feature. A password is never in a document.

Documents are msgpack maps with named fields. A reader ignores a field that it does not know, and a field that is added
has a default; so an older reader and a newer writer understand each other, in both directions.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, Final, Literal

import msgspec

from tenantry_client.context.refusals import ContextRefused

Level = Literal["open", "closed", "retained", "absent"]
Access = Literal["open", "closed"]
BUCKETS: Final = 256


class Placement(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the data of one product family lives. `address` is host:port."""

    region: str
    shard: str
    address: str
    database: str
    schema: str
    role: str | None = None
    """The login role of the family, where it has one for all of its products; otherwise each product names its own."""


class Product(msgspec.Struct, frozen=True, omit_defaults=True):
    """One product of a tenant. `expires_at` is in unix seconds; `users` None means no limit is known."""

    level: Level
    family: str
    edition: str | None = None
    users: int | None = None
    features: tuple[str, ...] = ()
    expires_at: float | None = None
    configuration: dict[str, Any] = {}
    role: str | None = None

    def is_open(self, now: float) -> bool:
        """Whether the product may be used at `now` (unix seconds of the reader), its tenant aside."""
        return self.level == "open" and (self.expires_at is None or now < self.expires_at)


class TenantContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of one tenant as of `version`, the position of the last event that changed it."""

    tenant_id: str
    customer_id: str
    site_name: str
    host: str
    lifecycle: str
    access: Access
    version: int
    products: dict[str, Product] = {}
    placements: dict[str, Placement] = {}
    halted: str | None = None
    """The reason why this document cannot be brought up to date. A reader answers 503 for it."""

    def is_open(self, product: str, *, now: float | None = None) -> bool:
        """Whether tenant and product are open now, by the clock of this process."""
        found = self.products.get(product)
        return self.access == "open" and found is not None and found.is_open(time.time() if now is None else now)

    def require(self, *, product: str, feature: str | None = None, now: float | None = None) -> Product:
        """The product, where the tenant may use it, and `feature` of it. Raises ContextRefused (403)."""
        if self.access != "open":
            raise ContextRefused("tenant-closed", f"tenant {self.tenant_id} is closed")
        found = self.products.get(product)
        if found is None or not found.is_open(time.time() if now is None else now):
            raise ContextRefused("product-closed", f"product {product} is not open for tenant {self.tenant_id}")
        if feature is not None and feature not in found.features:
            raise ContextRefused("feature-not-licensed", f"{product} is licensed without the feature {feature}")
        return found

    def placement(self, product: str) -> Placement:
        """Where the product's data lives. Raises ContextRefused (403) where it lives nowhere."""
        found = self.products.get(product)
        place = None if found is None else self.placements.get(found.family)
        if place is None:
            raise ContextRefused("product-not-placed", f"product {product} of tenant {self.tenant_id} has no database")
        return place

    def seen_at(self, now: float) -> tuple[TenantContext, str]:
        """The document as it is at `now`, expired products closed, with its entity tag."""
        expired = [name for name, each in self.products.items() if each.level == "open" and not each.is_open(now)]
        if not expired:
            return self, f'"{self.version}"'
        closed = {name: msgspec.structs.replace(self.products[name], level="closed") for name in expired}
        seen = msgspec.structs.replace(self, products={**self.products, **closed})
        return seen, f'"{self.version}-{len(expired)}"'


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(TenantContext)
_JSON_ENCODER: Final = msgspec.json.Encoder()
_JSON_DECODER: Final = msgspec.json.Decoder(TenantContext)


def encode(context: TenantContext) -> bytes:
    """The stored form (msgpack)."""
    return _ENCODER.encode(context)


def decode(document: bytes | memoryview) -> TenantContext:
    """From the stored form. Raises msgspec.ValidationError and msgspec.DecodeError."""
    return _DECODER.decode(document)


def to_json(context: TenantContext) -> bytes:
    """The form for people and other languages."""
    return _JSON_ENCODER.encode(context)


def from_json(body: bytes) -> TenantContext:
    """From `to_json`. Raises msgspec.ValidationError and msgspec.DecodeError."""
    return _JSON_DECODER.decode(body)


# -- the digest by which two copies are compared --------------------------------------------------------------------


def bucket(tenant_id: str) -> int:
    """The bucket of a tenant in the digest, 0 to 255."""
    return hashlib.sha256(tenant_id.encode()).digest()[0]


def fingerprint(tenant_id: str, version: int) -> int:
    """What one tenant at one version adds to its bucket, modulo 2^64."""
    return int.from_bytes(hashlib.sha256(f"{tenant_id}|{version}".encode()).digest()[:8], "big")
