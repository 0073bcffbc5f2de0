"""The adopted configuration: catalogue, policy and shards, which every process uses.

A process that decides with another catalogue than the one the log was written with does harm: what it does not know it
cannot close. So the configuration is an event like any other. It is adopted by an act, in a stream of its own, and the
newest adoption holds. A file beside a process is only a proposal.

    file, or built in ──▶ proposed ──▶ adopt: + what is retired ──▶ ConfigurationAdopted ──▶ every process, with its
                                             by the log and before                           next decision

Nothing that lives is forgotten by an adoption: products, editions and shards that the new content lacks stay known
(`Catalog.retired`, `ShardMap.left`). Secrets are no part of it: how a shard is reached is a setting of each process,
found by the shard's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from domain import names
from domain.catalog import Catalog, Product
from domain.configuration_part import ConfigurationPart
from domain.errors import UsageError, problem
from domain.event import Event, Folded, Recorded
from domain.policy import Policy
from domain.stream_name import CONFIGURATION_STREAM, ObstacleName

STREAM: Final = CONFIGURATION_STREAM
"""The stream of all adoptions; its version numbers them."""


class AdoptedShard(ConfigurationPart):
    """A shard as everybody knows it.

    `address` is host, port and database, never a user or a password; None: a database of the server that holds the log.
    """

    name: names.ShardName
    region: names.Region
    capacity: int
    state: Literal["open", "draining", "closed"] = "open"
    isolation: Literal["schema", "database"] = "schema"
    address: str | None = None
    public_host: str | None = None
    public_port: int | None = None


class ShardMap(ConfigurationPart):
    """The shards that are offered, and those that have left but may still hold families."""

    shards: tuple[AdoptedShard, ...]
    default_region: names.Region
    left: tuple[AdoptedShard, ...] = Field(default=(), exclude_if=lambda left: not left)

    @property
    def offered(self) -> ShardMap:
        """The map as settings say it: without the shards that have left."""
        return self.model_copy(update={"left": ()})

    @property
    def known(self) -> Mapping[str, AdoptedShard]:
        """By name; one that has left takes no new family."""
        gone = {shard.name: shard.model_copy(update={"state": "closed"}) for shard in self.left}
        return {**gone, **{shard.name: shard for shard in self.shards}}


class ConfigurationAdopted(Event):
    """An operator, or the first start, adopted the configuration that holds from now. It is whole, never a change."""

    TOPIC: ClassVar[str] = "tenantry.configuration-adopted"
    catalog: Catalog
    policy: Policy
    topology: ShardMap
    reason: names.Reason
    operator: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """What decisions are made with: what was adopted, or, before that, what a process has at hand."""

    catalog: Catalog
    policy: Policy
    topology: ShardMap

    @property
    def offered(self) -> Configuration:
        """Without what is only known because it was there before: what files and settings say."""
        return Configuration(self.catalog.offered, self.policy, self.topology.offered)

    @property
    def digest(self) -> str:
        """Names the content."""
        parts = (self.catalog, self.policy, self.topology)
        return hashlib.sha256("\n".join(part.model_dump_json() for part in parts).encode()).hexdigest()[:16]


class Adopted(Folded, frozen=True):
    """The newest adoption as of `version` of the stream; nothing in it while there is none (version 0)."""

    version: int = 0
    event: ConfigurationAdopted | None = None
    at: datetime | None = None

    @property
    def configuration(self) -> Configuration | None:
        """The content; None where nothing was adopted."""
        event = self.event
        return Configuration(event.catalog, event.policy, event.topology) if event is not None else None


def evolve(adopted: Adopted, recorded: Recorded) -> Adopted:
    """The state after the event."""
    if isinstance(recorded.event, ConfigurationAdopted):
        return adopted.but(version=recorded.version, event=recorded.event, at=recorded.time)
    return adopted.but(version=recorded.version)


def shard_obstacle(shard: str) -> str:
    """The obstacle of a scope whose shard is unreachable."""
    return str(ObstacleName("shard", shard))


def secret_obstacle(product: str) -> str:
    """The obstacle of a product whose provisioner cannot be asked because its secret is missing."""
    return str(ObstacleName("secret", product))


# -- adopting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Living:
    """What the log holds, whatever any catalogue says: products that some tenant has, shards that hold families."""

    products: Mapping[str, Product | None]
    """Each with what its streams say of it, where no catalogue that was adopted tells (None: one does)."""
    shards: Mapping[str, AdoptedShard]


def adopt(
    proposed: Configuration, before: Configuration | None, living: Living, *, reason: str, by: str
) -> ConfigurationAdopted:
    """The event that a proposal comes to. Raises UsageError where it contradicts what lives."""
    known: dict[str, Product] = {key: product for key, product in living.products.items() if product is not None}
    if before is not None:
        for key, product in before.catalog.known.items():
            known[key] = product.model_copy(update={"editions": before.catalog.editions(key)})
    _check_families(proposed.catalog, known, living.products)
    shards = {**living.shards, **(before.topology.known if before is not None else {})}
    _check_regions(proposed.topology, shards, living.shards)
    named = proposed.topology.known
    return ConfigurationAdopted(
        catalog=Catalog(products=proposed.catalog.products, retired=_retired(proposed.catalog, known)),
        policy=proposed.policy,
        topology=ShardMap(
            shards=proposed.topology.shards,
            default_region=proposed.topology.default_region,
            left=tuple(shard for name, shard in sorted(shards.items()) if name not in named),
        ),
        reason=reason,
        operator=by,
    )


def _retired(catalog: Catalog, known: Mapping[str, Product]) -> dict[str, Product]:
    """Products that the catalogue lacks, and the editions that it lacks of those that it has."""
    found: dict[str, Product] = {}
    for key, product in known.items():
        offered = catalog.products.get(key)
        if offered is None:
            found[key] = product
        elif left := {name: each for name, each in product.editions.items() if name not in offered.editions}:
            found[key] = product.model_copy(update={"editions": left})
    return found


def _check_families(catalog: Catalog, known: Mapping[str, Product], living: Collection[str]) -> None:
    """A product's data lies in its family, an app's entitlement with its host: neither moves by a catalogue."""
    for key, product in catalog.products.items():
        was = known.get(key)
        if was is None or key not in living or (was.family, was.host) == (product.family, product.host):
            continue
        raise UsageError(problem("product-moved", product=key, here=_home(product), adopted=_home(was)))


def _home(product: Product) -> str:
    parts = [f"family {product.family}"] if product.family else []
    return " and ".join([*parts, *([f"host {product.host}"] if product.host else [])])


def _check_regions(topology: ShardMap, known: Mapping[str, AdoptedShard], living: Collection[str]) -> None:
    for shard in topology.shards:
        was = known.get(shard.name)
        if was is not None and shard.name in living and was.region != shard.region:
            raise UsageError(problem("shard-moved", shard=shard.name, region=shard.region, adopted=was.region))


# -- differences ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConfigurationDifference:
    """A value that differs, by its place as in `catalog.products.jira-software.editions.premium`; None: not there."""

    where: str
    adopted: str | None
    proposed: str | None


def differences(adopted: Configuration, proposed: Configuration) -> list[ConfigurationDifference]:
    """What another configuration says otherwise; what is only known because it was there before does not count."""
    old, new = dict(_values(adopted.offered)), dict(_values(proposed.offered))
    return [
        ConfigurationDifference(place, old.get(place), new.get(place))
        for place in dict.fromkeys([*old, *new])
        if old.get(place) != new.get(place)
    ]


def _values(configuration: Configuration) -> Iterator[tuple[str, str]]:
    shards = {shard.name: shard.model_dump(mode="json") for shard in configuration.topology.shards}
    content = {
        "catalog": configuration.catalog.model_dump(mode="json"),
        "policy": configuration.policy.model_dump(mode="json"),
        "shards": shards,
        "default_region": configuration.topology.default_region,
    }
    return _leaves("", content)


def _leaves(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{place}.{name}" if place else str(name), inner)
    elif isinstance(value, list):
        yield place, ", ".join(map(str, value))
    elif value is not None:
        yield place, str(value)
