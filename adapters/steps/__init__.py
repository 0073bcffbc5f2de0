"""Which executor brings which step about?

One line for each step of each kind of scope; to add an executor is to add a file and a line here. A product's own steps
go to somebody else where the catalogue says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adapters.signed_requests import SignedRequests, SigningSecret
from adapters.steps.commerce import Commerce
from adapters.steps.configuration import Configurations
from adapters.steps.databases import Databases
from adapters.steps.fences import Connect
from adapters.steps.foreign import Routed, licensed, webhooks
from adapters.steps.identities import Identities
from adapters.steps.licenses import Licenses
from adapters.steps.regions import Regions
from adapters.steps.sites import Memberships, SiteNames
from adapters.steps.webhooks import Draft
from adapters.topology import Topology
from domain.catalog import Catalog
from domain.ports import Executor
from domain.steps import ScopeKind, Step

NO_SECRETS: Final[Mapping[str, SigningSecret]] = MappingProxyType({})


def executors(
    *,
    control: Connect,
    topology: Topology,
    catalog: Catalog,
    site_domain: str,
    master_key: bytes,
    webhook_secrets: Mapping[str, SigningSecret] = NO_SECRETS,
) -> Mapping[tuple[ScopeKind, Step], Executor]:
    """All of them, ready for many threads. `control` opens a session of the control database."""
    configurations = Configurations(catalog, site_domain=site_domain)
    identities, memberships = Identities(), Memberships()
    requests = SignedRequests(seconds=topology.patience.statement)

    def routed(step: Step, ours: Executor, draft: Draft) -> Routed:
        foreign = webhooks(step, draft, catalog=catalog, secrets=webhook_secrets, requests=requests)
        return Routed(ours, foreign)

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
