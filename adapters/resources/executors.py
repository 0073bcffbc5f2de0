"""Which executor brings which step about?

One line for each step of each kind of scope; to add an executor is to add a file and a line here. A product's own steps
go to somebody else where the catalogue says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from adapters.kafka.ports import Producer
from adapters.provisioners.circuit_breaker import CircuitBreaker
from adapters.provisioners.foreign import Routed, commanded, licensed, webhooks
from adapters.provisioners.orders import Draft
from adapters.provisioners.replies import PostgresReplies, Replied
from adapters.provisioners.signed_requests import SignedRequests, SigningSecret
from adapters.resources.capacity import Regions
from adapters.resources.commerce import Commerce
from adapters.resources.configuration import Configurations
from adapters.resources.database import Databases
from adapters.resources.entitlement import Licenses
from adapters.resources.fences import Connect
from adapters.resources.identities import Identities
from adapters.resources.site_name import Memberships, SiteNames
from adapters.resources.topology import Topology
from application.ports.resources import Executor
from domain.catalog import Catalog
from domain.errors import UsageError
from domain.scope.steps import ScopeKind, Step

NO_SECRETS: Final[Mapping[str, SigningSecret]] = MappingProxyType({})


def _no_kafka() -> Producer:
    raise UsageError("the catalogue names an executor on Kafka, but there is no producer here")


def executors(
    *,
    control: Connect,
    topology: Topology,
    catalog: Catalog,
    site_domain: str,
    master_key: bytes,
    webhook_secrets: Mapping[str, SigningSecret] = NO_SECRETS,
    producer: Callable[[], Producer] = _no_kafka,
    egress_proxy: str | None = None,
) -> Mapping[tuple[ScopeKind, Step], Executor]:
    """All of them, ready for many threads. `control` opens a session of the control database.

    `producer` is asked for with the first command to somebody who is reached by Kafka. Whoever cannot be asked, because
    a secret is not set here, is waited for (`foreign.check_secrets` says so at the start).
    """
    configurations = Configurations(catalog, site_domain=site_domain)
    identities, memberships = Identities(), Memberships()
    replies = PostgresReplies(control)
    requests = SignedRequests(seconds=topology.patience.statement, proxy=egress_proxy)

    def routed(step: Step, ours: Executor, draft: Draft) -> Routed:
        by_webhook = webhooks(step, draft, catalog=catalog, secrets=webhook_secrets, requests=requests)
        by_kafka = commanded(step, draft, catalog=catalog, producer=producer)
        foreign = {**by_webhook, **by_kafka}
        return Routed(ours, {key: Replied(CircuitBreaker(asked), replies, draft) for key, asked in foreign.items()})

    return {
        ("site", Step.COMMERCE): Commerce(),
        ("site", Step.SITE): SiteNames(control, site_domain=site_domain, patience=topology.patience),
        ("site", Step.CONFIGURATION): configurations,
        ("site", Step.IDENTITY): identities,
        ("family", Step.REGION): Regions(control, topology),
        ("family", Step.DATABASE): Databases(topology, master_key=master_key),
        ("product", Step.SITE): routed(Step.SITE, memberships, memberships.ensure),
        ("product", Step.CONFIGURATION): routed(Step.CONFIGURATION, configurations, configurations.ensure),
        ("product", Step.IDENTITY): routed(Step.IDENTITY, identities, identities.ensure),
        ("product", Step.LICENSE): routed(Step.LICENSE, Licenses(topology, catalog), licensed),
    }
