"""Which executor brings which step about?

One line for each step of each kind of scope; to add an executor is to add a file and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.steps.commerce import Commerce
from adapters.steps.configuration import Configurations
from adapters.steps.databases import Databases
from adapters.steps.fences import Connect
from adapters.steps.identities import Identities
from adapters.steps.licenses import Licenses
from adapters.steps.regions import Regions
from adapters.steps.sites import Memberships, SiteNames
from adapters.topology import Topology
from domain.catalog import Catalog
from domain.ports import Executor
from domain.steps import ScopeKind, Step


def executors(
    *, control: Connect, topology: Topology, catalog: Catalog, site_domain: str, master_key: bytes
) -> Mapping[tuple[ScopeKind, Step], Executor]:
    """All of them, ready for many threads. `control` opens a session of the control database."""
    configurations = Configurations(catalog, site_domain=site_domain)
    return {
        ("site", Step.COMMERCE): Commerce(),
        ("site", Step.SITE): SiteNames(control, site_domain=site_domain, patience=topology.patience),
        ("site", Step.CONFIGURATION): configurations,
        ("site", Step.IDENTITY): Identities(),
        ("family", Step.REGION): Regions(control, topology),
        ("family", Step.DATABASE): Databases(topology, master_key=master_key),
        ("product", Step.SITE): Memberships(),
        ("product", Step.CONFIGURATION): configurations,
        ("product", Step.IDENTITY): Identities(),
        ("product", Step.LICENSE): Licenses(topology, catalog),
    }
