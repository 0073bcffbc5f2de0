"""The configuration that a process has at hand, and how it reaches what was adopted.

Files and settings propose; what was adopted holds (domain/configuration.py). The secrets of what was adopted are looked
up here by name: a shard's address with user and password is a setting of each process.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from adapters.postgres.connection import elsewhere
from adapters.resources.topology import Patience, Shard
from domain.catalog import Catalog, default_catalog
from domain.configuration import Adopted, AdoptedShard, Configuration, ShardMap, differences
from domain.errors import UsageError, problem
from domain.policy import Policy, default_policy
from runtime.instance import Endpoints
from runtime.settings import Settings, ShardSettings, database_of_shard
from runtime.settings_layers import where_settings_were_sought


def proposed(settings: Settings) -> Configuration:
    """What the files and settings of this process say. Raises UsageError where one of them cannot be used."""
    catalog, policy = settings.catalog_file, settings.policy_file
    return Configuration(
        catalog=Catalog.parse(_text(catalog, "catalogue"), source=str(catalog)) if catalog else default_catalog(),
        policy=Policy.parse(_text(policy, "policy"), source=str(policy)) if policy else default_policy(),
        topology=ShardMap(
            shards=tuple(_without_secrets(shard) for shard in settings.topology),
            default_region=settings.default_region,
        ),
    )


def shards_of(topology: ShardMap, settings: Settings, endpoints: Endpoints) -> list[Shard]:
    """The adopted shards as this process reaches them. One without an address is a database beside the log."""
    ours = {shard.name: shard.url.get_secret_value() for shard in settings.topology if shard.url is not None}
    urls = {**endpoints.shard_urls, **ours}
    offered = {shard.name for shard in topology.shards}
    found: list[Shard] = []
    for name, shard in sorted(topology.known.items()):
        is_here, url = shard.address is None and name not in urls, urls.get(name)
        host, port = (endpoints.tcp_host, endpoints.tcp_port) if is_here else (None, None) if url else _place(shard)
        beside = elsewhere(endpoints.database_url, database_of_shard(name)) if is_here else ""
        found.append(
            Shard(
                name=name,
                region=shard.region,
                url=url or beside,
                capacity=shard.capacity,
                state=shard.state,
                isolation=shard.isolation,
                public_host=shard.public_host or host,
                public_port=shard.public_port or port,
                unreachable=None if url or is_here else _no_url(shard, is_offered=name in offered),
                left=name not in offered,
            )
        )
    return found


def patience_of(policy: Policy) -> Patience:
    step = policy.retry.step_timeout.total_seconds()
    return Patience(statement=step / 2, lock=step / 6, idle=step)


def account() -> str:
    """`user@host`; the number of the user where it has no name."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


# -- for people ----------------------------------------------------------------------------------------------------


def in_use(adopted: Adopted, settings: Settings) -> Iterator[str]:
    """Which configuration is in use, where another was looked for, and whether that one differs."""
    event = adopted.event
    if event is None or adopted.configuration is None:
        yield f"configuration: none is adopted, what is at hand is used ({sources(settings)})"
        return
    catalog = event.catalog
    retired = sum(key not in catalog.products for key in catalog.retired)
    yield (
        f"configuration {adopted.version}, adopted {adopted.at:%Y-%m-%d %H:%M:%S} UTC by {event.operator}"
        f" ({event.reason}): {len(catalog.products)} products and {retired} retired ones,"
        f" {len(event.topology.shards)} shards"
    )
    yield f"looked for settings: {where_settings_were_sought()}"
    if found := _differs(adopted.configuration, settings):
        yield f"what is at hand ({sources(settings)}) {found}"


def warning(adopted: Adopted, settings: Settings) -> str | None:
    """What an operator should hear with each command: that a file which they named is not what is used."""
    is_named = settings.catalog_file or settings.policy_file or settings.shards
    if adopted.configuration is None or not is_named:
        return None
    found = _differs(adopted.configuration, settings)
    return f"the configuration at hand {found}" if found else None


def _differs(adopted: Configuration, settings: Settings) -> str | None:
    """How what is at hand stands to what is adopted; None where it is the same. A broken file is reported, too."""
    try:
        found = differences(adopted, proposed(settings))
    except UsageError as error:
        from application.problem_texts import sentence  # noqa: PLC0415 - `status` imports no application service

        return f"cannot be used ({sentence(error)}): the adopted one is used"
    if not found:
        return None
    return f"differs from what is adopted in {len(found)} values: the adopted one is used, see `tenantry config diff`"


def sources(settings: Settings) -> str:
    """Where each part of what is at hand comes from."""
    shards = f"{len(settings.shards)} shards of the settings" if settings.shards else "built-in shards"
    return f"catalogue {settings.catalog_file or 'built in'}, policy {settings.policy_file or 'built in'}, {shards}"


# -- parts ---------------------------------------------------------------------------------------------------------


def _without_secrets(shard: ShardSettings) -> AdoptedShard:
    return AdoptedShard(
        name=shard.name,
        region=shard.region,
        capacity=shard.capacity,
        state=shard.state,
        isolation=shard.isolation,
        address=_address(shard.name, shard.url.get_secret_value()) if shard.url is not None else None,
        public_host=shard.public_host,
        public_port=shard.public_port,
    )


def _address(name: str, url: str) -> str:
    """`host:port/database`; of several hosts each. Nothing that follows from a password or a user."""
    try:
        place = conninfo_to_dict(url)
    except ProgrammingError:
        raise UsageError(problem("shard-url-unreadable", name=name)) from None
    hosts = str(place.get("host") or place.get("hostaddr") or "localhost").split(",")
    ports = str(place.get("port") or "5432").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    at = ",".join(f"{host or 'localhost'}:{port or '5432'}" for host, port in zip(hosts, ports, strict=False))
    return f"{at}/{place.get('dbname') or ''}"


def _place(shard: AdoptedShard) -> tuple[str | None, int | None]:
    """Host and port of the first place in its address."""
    host, _, port = (shard.address or "").partition(",")[0].partition("/")[0].rpartition(":")
    return host or None, int(port) if port.isascii() and port.isdigit() else None


def _no_url(shard: AdoptedShard, *, is_offered: bool) -> str:
    named = f"it lies at {shard.address}, and the settings here have no url for it: name it in [[shards]] with its url"
    return named if is_offered else f"it has left the topology; {named}, until its families are gone"


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UsageError(problem("file-unreadable", what=what, path=path, reason=error.strerror)) from None
    except UnicodeDecodeError:
        raise UsageError(problem("file-not-utf8", what=what, path=path)) from None
