"""Database logins of products: derived from the master key for who may have them, and stored nowhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from adapters.postgres.credential_fetches import CredentialFetches
from adapters.resources.login_role import role_password
from domain.errors import UsageError, problem
from domain.scope.next_action import database_of
from domain.scope.steps import Scope
from runtime.compose.parts import Parts
from runtime.compose.process import Process
from runtime.reports.tenant import snapshot_of


@dataclass(frozen=True, slots=True)
class DatabaseLogin:
    """Where a product of a tenant is reached, and as which role. `rotation` is 0 until its password is rotated."""

    tenant_id: str
    product: str
    family: str
    region: str
    host: str
    port: str
    database: str
    schema: str
    role: str
    password: str = field(repr=False)
    may_log_in: bool
    generation: int
    rotation: int


def login_of(parts: Parts, tenant_id: str, product: str) -> DatabaseLogin:
    """The login as of now. Raises UsageError (`tenant-unknown`, `credentials-no-role` and others)."""
    if product not in parts.catalog:
        known = ", ".join(parts.catalog.products)
        raise UsageError(problem("product-not-in-catalogue", key=product, products=known))
    snapshot = snapshot_of(parts, tenant_id)
    family = parts.catalog.family_of(product)
    database = database_of(snapshot, family)
    role = database.role_of(product) if database else None
    if database is None or role is None:
        raise UsageError(problem("credentials-no-role", product=product, tenant=tenant_id))
    shard = parts.topology.shards.get(database.shard)
    if shard is None:
        raise UsageError(problem("credentials-shard-unknown", shard=database.shard))
    host, port = shard.reached_at()
    scope = Scope("family", tenant_id, family)
    password = role_password(parts.master_key, scope, product, role.generation, rotation=role.rotation)
    return DatabaseLogin(
        tenant_id=tenant_id,
        product=product,
        family=family,
        region=database.region,
        host=host,
        port=str(port),
        database=database.database,
        schema=database.schema_name,
        role=role.role,
        password=password,
        may_log_in=role.login,
        generation=role.generation,
        rotation=role.rotation,
    )


def credential_fetches_of(process: Process) -> CredentialFetches:
    return process.closing(CredentialFetches(process.endpoints.database_url))
