"""Credentials of a product's database, for an operator who must inspect it."""

from __future__ import annotations

from typing import Annotated

import typer

from adapters.resources.login_role import role_password
from cli.command import command
from cli.output import Report, pairs
from cli.scopes import TenantArgument, product_of
from domain.errors import UsageError, problem
from domain.scope.next_action import database_of
from domain.scope.steps import Scope
from runtime.compose import Parts
from runtime.reports.tenant import snapshot_of


@command
def credentials(
    parts: Parts,
    tenant: TenantArgument,
    product: Annotated[str, typer.Argument(metavar="PRODUCT", help="The key of the product.")],
) -> Report:
    """Print the address, role and PASSWORD of a product's database login. They are computed each time, never stored."""
    snapshot = snapshot_of(parts, tenant)
    family = parts.catalog.family_of(product_of(parts, product))
    database = database_of(snapshot, family)
    role = database.role_of(product) if database else None
    if database is None or role is None:
        raise UsageError(problem("credentials-no-role", product=product, tenant=tenant))
    shard = parts.topology.shards.get(database.shard)
    if shard is None:
        raise UsageError(problem("credentials-shard-unknown", shard=database.shard))
    host, port = shard.reached_at()
    data = {
        "host": host,
        "port": port,
        "database": database.database,
        "schema": database.schema_name,
        "role": role.role,
        "password": role_password(parts.master_key, Scope("family", tenant, family), product, role.generation),
        "may_log_in": role.login,
    }
    return Report(data, [pairs(f"credentials of {product}", data)])
