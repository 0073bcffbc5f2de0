"""Names with a grammar: of streams, scopes, obstacles, and of what the executors make.

Each is a type with `parse` and `str`; what is stored is the text. No other file builds or splits such text, but for
the SQL of the adapters, which selects by it.

    StreamName      tenant:T  customer:C  site:T  family:T:KEY  product:T:KEY  operator:T  orphans:PLAN
                    configuration:adopted  service-keys:  export-grants:  in-force:
    ScopeId         site:T  family:T:KEY  product:T:KEY          the stream of a scope, and the scope itself
    ObstacleName    site-name:NAME  room:REGION  shard:NAME  unreachable:WHAT  secret:PRODUCT
                    provisioner:PRODUCT/STEP
    ResourceName    t_DIGEST_gN (schema or database)  g_... (group)  r_... (login role of a product)
    SiteReservation NAME of T                                    a reserved site name, in a list of orphans
    EntitlementName PRODUCT in SCHEMA                            an entitlement, in a list of orphans

Tenant ids, families and products hold no `:` and no `/` (names.py), so each text has one reading.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, get_args

ScopeKind = Literal["site", "family", "product"]
StreamKind = Literal[
    "tenant",
    "customer",
    "configuration",
    "service-keys",
    "export-grants",
    "in-force",
    "operator",
    "orphans",
    "site",
    "family",
    "product",
]

SCOPE_KINDS: Final[tuple[ScopeKind, ...]] = get_args(ScopeKind)
_STREAM_KINDS: Final = frozenset(get_args(StreamKind))
_OF_NO_TENANT: Final = ("customer", "configuration", "service-keys", "export-grants", "in-force", "orphans")


def stream(kind: StreamKind, key: str) -> str:
    """The text of a stream name, where it is wanted at once: two of them for each message of the intake."""
    return f"{kind}:{key}"


class StreamName(NamedTuple):
    """A stream by its kind and key; the key of a scope's stream may hold a `:` of its own."""

    kind: StreamKind
    key: str

    def __str__(self) -> str:
        return stream(self.kind, self.key)

    @classmethod
    def parse(cls, text: str) -> StreamName:
        """The stream that `text` names; ValueError when it names none."""
        kind, colon, key = text.partition(":")
        if colon and kind in _STREAM_KINDS:
            return cls(kind, key)  # type: ignore[arg-type]
        raise ValueError(f"{text!r} names no stream: expected tenant:T, customer:C, or the name of a scope")

    @property
    def is_of_scope(self) -> bool:
        return self.kind in SCOPE_KINDS

    @property
    def tenant_id(self) -> str | None:
        """The tenant that the stream belongs to; None where it belongs to none."""
        return None if self.kind in _OF_NO_TENANT else self.key.partition(":")[0] or None


class ScopeId(NamedTuple):
    """What converges by itself. `key` is the family or product, empty for a site. `str(scope)` names its stream."""

    kind: ScopeKind
    tenant_id: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.tenant_id}:{self.key}" if self.key else f"{self.kind}:{self.tenant_id}"

    @classmethod
    def parse(cls, text: str) -> ScopeId:
        """The scope whose stream is `text`; ValueError when it is no scope's."""
        kind, _, rest = text.partition(":")
        tenant_id, _, key = rest.partition(":")
        if tenant_id and (kind in ("family", "product") if key else kind == "site"):
            return cls(kind, tenant_id, key)  # type: ignore[arg-type]
        raise ValueError(f"{text!r} names no scope: expected site:T, family:T:KEY or product:T:KEY")


ObstacleKind = Literal["site name", "capacity", "shard", "unreachable", "secret", "provisioner"]

_STORED_OBSTACLES: Final[Mapping[ObstacleKind, str]] = {
    "site name": "site-name",
    "capacity": "room",
    "shard": "shard",
    "unreachable": "unreachable",
    "secret": "secret",
    "provisioner": "provisioner",
}


class ObstacleName(NamedTuple):
    """What a scope waits for, and what its release is called: a taken site name, capacity in a region, a shard that is
    not offered, a part that does not answer, the secret of a product's provisioner, its answer.
    """

    kind: ObstacleKind
    name: str

    def __str__(self) -> str:
        return f"{_STORED_OBSTACLES[self.kind]}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> ObstacleName:
        """The obstacle that `text` names; ValueError when it names none."""
        stored, colon, name = text.partition(":")
        for kind, prefix in _STORED_OBSTACLES.items():
            if colon and stored == prefix:
                return cls(kind, name)
        raise ValueError(f"{text!r} names no obstacle: expected one of {', '.join(_STORED_OBSTACLES.values())}")

    @classmethod
    def outage(cls, text: str | None) -> str | None:
        """The part that does not answer, where `text` names an outage."""
        prefix = str(cls("unreachable", ""))
        return text.removeprefix(prefix) if text is not None and text.startswith(prefix) else None


ResourceKind = Literal["t", "g", "r"]
"""A schema or database (`t`), the group of those that may use it (`g`), a product's login role (`r`)."""

RESOURCE_PATTERN: Final = r"^[trg]_[0-9a-f]{20}_g[0-9]+$"
"""What the names of resources look like, also for PostgreSQL's `~`."""


class ResourceName(NamedTuple):
    """A schema, database or role on a shard: at most 63 bytes, unique on a server, with its created generation."""

    kind: ResourceKind
    digest: str
    generation: int

    def __str__(self) -> str:
        return f"{self.kind}_{self.digest}_g{self.generation}"

    @classmethod
    def of(cls, kind: ResourceKind, family: ScopeId, generation: int, *, product: str | None = None) -> ResourceName:
        """The name of a part of the family, or of one of its products."""
        what = "/".join([family.tenant_id, family.key, *([product] if product is not None else [])])
        return cls(kind, hashlib.sha256(what.encode()).hexdigest()[:20], generation)

    @classmethod
    def parse(cls, text: str) -> ResourceName:
        """The resource that `text` names; ValueError when it is none of ours."""
        if re.fullmatch(RESOURCE_PATTERN[1:-1], text) is None:
            raise ValueError(f"{text!r} names no schema, database or role of Tenantry")
        kind, digest, generation = text.split("_")
        return cls(kind, digest, int(generation[1:]))  # type: ignore[arg-type]

    @property
    def group(self) -> ResourceName:
        """The group of those that may use a schema or database."""
        return self._replace(kind="g")


class SiteReservation(NamedTuple):
    """A site name and the tenant that has reserved it."""

    site_name: str
    tenant_id: str

    def __str__(self) -> str:
        return f"{self.site_name} of {self.tenant_id}"

    @classmethod
    def parse(cls, text: str) -> SiteReservation:
        site_name, _, tenant_id = text.partition(" of ")
        return cls(site_name, tenant_id)


class EntitlementName(NamedTuple):
    """A product's entitlement, and the schema or database that it lies in."""

    product: str
    place: str

    def __str__(self) -> str:
        return f"{self.product} in {self.place}"

    @classmethod
    def parse(cls, text: str) -> EntitlementName:
        product, _, place = text.rpartition(" in ")
        return cls(product, place)


CONFIGURATION_STREAM: Final = str(StreamName("configuration", "adopted"))
"""The stream of adopted configurations; there is one."""
