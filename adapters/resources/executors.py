"""Resources of Tenantry, one line each, and the executors of their steps.

A resource names the steps that it serves. A product's own steps go to another team's provisioner where the catalogue
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from adapters.resources.membership import MembershipSet
from adapters.resources.site_name import SiteNames
from adapters.resources.topology import Topology
from application.ports.resources import BoundedExecutor, LiesOn, Order, StepExecutor
from application.resources import Resources
from domain.catalog import Catalog, CommandedExecutor, ForeignExecutor
from domain.errors import UsageError, problem
from domain.scope.steps import ScopeKind, Step

NO_SECRETS: Final[Mapping[str, SigningSecret]] = MappingProxyType({})


def _no_kafka() -> Producer:
    raise UsageError(problem("executor-without-producer"))


@dataclass(frozen=True, slots=True)
class Outside:
    """Where the resources are. `control` opens a session of the control database."""

    control: Connect
    topology: Topology
    catalog: Catalog
    site_domain: str
    master_key: bytes


def resources(there: Outside) -> Resources:
    """All that lies outside the log, in the order in which its orphans go: what holds things before the roles that may
    own them."""
    regions = Regions(there.control, there.topology)
    each = (
        Databases(there.topology, master_key=there.master_key),
        Entitlements(there.topology, there.catalog),
        regions,
        SiteNames(there.control, site_domain=there.site_domain, patience=there.topology.patience),
        LoginRoles(there.topology, master_key=there.master_key),
    )
    return Resources(each, there.topology.offered, regions.used)


def in_the_log(catalog: Catalog, *, site_domain: str) -> tuple[StepExecutor, ...]:
    """The executors of which nothing lies outside the log: it cannot drift, and leaves no orphan."""
    return Commerce(), Configurations(catalog, site_domain=site_domain), Identities(), MembershipSet()


def system_of(order: Order, catalog: Catalog, lies_on: Mapping[tuple[ScopeKind, Step], LiesOn]) -> str:
    """The name of the system that the order goes to, for people."""
    is_of_product = order.scope.kind == "product" and order.scope.key in catalog.known
    match catalog.known[order.scope.key].executors.get(order.step) if is_of_product else None:
        case ForeignExecutor() as foreign:
            return f"webhook {foreign.webhook}"
        case CommandedExecutor() as foreign:
            return f"commands on {foreign.kafka}"
        case _:
            pass
    match lies_on[order.scope.kind, order.step]:
        case "shard":
            return f"shard {order.placement.shard}" if order.placement else "a shard"
        case "control":
            return "the control database"
        case _:
            return "the log alone"


def places(there: Outside) -> Mapping[tuple[ScopeKind, Step], LiesOn]:
    """Where the things of each step lie that we bring about ourselves."""
    return {
        served: executor.lies_on
        for executor in (*resources(there).each, *in_the_log(there.catalog, site_domain=there.site_domain))
        if isinstance(executor, StepExecutor)
        for served in executor.serves
    }


def executors(
    there: Outside,
    *,
    webhook_secrets: Mapping[str, SigningSecret] = NO_SECRETS,
    producer: Callable[[], Producer] = _no_kafka,
    egress_proxy: str | None = None,
) -> Mapping[tuple[ScopeKind, Step], BoundedExecutor]:
    """The executors of all steps, ready for many threads.

    `producer` is asked for with the first command to a provisioner that is reached by Kafka. A provisioner that cannot
    be asked, because a secret is not set here, is waited for (`foreign.check_secrets` says so at the start).
    """
    catalog, replies = there.catalog, PostgresReplies(there.control)
    requests = SignedRequests(seconds=there.topology.patience.statement, proxy=egress_proxy)

    def routed(step: Step, executor: StepExecutor) -> Routed:
        draft = executor.draft
        by_webhook = webhooks(step, draft, catalog=catalog, secrets=webhook_secrets, requests=requests)
        asked = {**by_webhook, **commanded(step, draft, catalog=catalog, producer=producer)}
        return Routed(executor, {key: Replied(CircuitBreaker(each), replies, draft) for key, each in asked.items()})

    return {
        (kind, step): routed(step, executor) if kind == "product" else executor
        for executor in (*resources(there).each, *in_the_log(catalog, site_domain=there.site_domain))
        if isinstance(executor, StepExecutor)
        for kind, step in executor.serves
    }
