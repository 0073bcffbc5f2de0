"""Resources of Tenantry, one line each, and the executors of their steps.

A resource names the steps that it serves. A product's own steps go to another team's provisioner where the catalogue
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from adapters.kafka.ports import Producer
from adapters.provisioners.circuit_breaker import CircuitBreaker
from adapters.provisioners.foreign import Routed, commanded, webhooks
from adapters.provisioners.replies import PostgresReplies, Replied
from adapters.provisioners.signed_requests import SignedRequests, SigningSecret
from adapters.resources.capacity import Regions
from adapters.resources.commerce import Commerce
from adapters.resources.configuration import Configurations
from adapters.resources.database import Databases
from adapters.resources.entitlement import Entitlements
from adapters.resources.fences import Connect
from adapters.resources.identities import Identities
from adapters.resources.login_role import LoginRoles
from adapters.resources.membership import Memberships
from adapters.resources.site_name import SiteNames
from adapters.resources.topology import Topology
from application.ports.resources import BoundedExecutor, Resource
from application.resources import Resources
from domain.catalog import Catalog
from domain.errors import UsageError
from domain.scope.steps import ScopeKind, Step

NO_SECRETS: Final[Mapping[str, SigningSecret]] = MappingProxyType({})


def _no_kafka() -> Producer:
    raise UsageError("the catalogue names an executor on Kafka, but there is no producer here")


def resources(
    *, control: Connect, topology: Topology, catalog: Catalog, site_domain: str, master_key: bytes
) -> Resources:
    """All of them, in the order in which their orphans go: what holds things before the roles that may own them.

    `control` opens a session of the control database.
    """
    regions = Regions(control, topology)
    each = (
        Databases(topology, master_key=master_key),
        Entitlements(topology, catalog),
        regions,
        SiteNames(control, site_domain=site_domain, patience=topology.patience),
        LoginRoles(topology, master_key=master_key),
        Commerce(),
        Configurations(catalog, site_domain=site_domain),
        Identities(),
        Memberships(),
    )
    return Resources(each, topology.offered, regions.used)


def executors(
    ours: Resources,
    *,
    control: Connect,
    topology: Topology,
    catalog: Catalog,
    webhook_secrets: Mapping[str, SigningSecret] = NO_SECRETS,
    producer: Callable[[], Producer] = _no_kafka,
) -> Mapping[tuple[ScopeKind, Step], BoundedExecutor]:
    """The executors of all steps, ready for many threads.

    `producer` is asked for with the first command to a provisioner that is reached by Kafka. A provisioner that cannot
    be asked, because a secret is not set here, is waited for (`foreign.check_secrets` says so at the start).
    """
    replies = PostgresReplies(control)
    requests = SignedRequests(seconds=topology.patience.statement)

    def routed(step: Step, resource: Resource) -> Routed:
        by_webhook = webhooks(step, resource.draft, catalog=catalog, secrets=webhook_secrets, requests=requests)
        by_kafka = commanded(step, resource.draft, catalog=catalog, producer=producer)
        asked = {**by_webhook, **by_kafka}
        return Routed(
            resource, {key: Replied(CircuitBreaker(each), replies, resource.draft) for key, each in asked.items()}
        )

    return {
        (kind, step): routed(step, resource) if kind == "product" else resource
        for resource in ours.each
        for kind, step in resource.serves
    }
