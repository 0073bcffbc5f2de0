"""Credentials of products' databases: print, rotate, and the record of the services that were given them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from adapters.postgres.credential_fetches import CredentialFetches
from application.operator_commands import Act
from cli.command import command
from cli.operators import By, Reason, Seen
from cli.output import Report, pairs, perhaps_more, table
from cli.scopes import TenantArgument
from domain.operator import Operator
from domain.scope.steps import Scope
from domain.times import clock
from runtime.compose import Parts, Process
from runtime.compose.credentials import login_of
from runtime.compose.operators import operating_of


class ShownByDefault(TyperGroup):
    """`credentials TENANT PRODUCT` is `credentials show TENANT PRODUCT`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What begins with no command of the group is shown."""
        is_named = not args or args[0] in self.commands or args[0] in {"--help", "-h"}
        return super().parse_args(ctx, args if is_named else ["show", *args])


app = typer.Typer(
    cls=ShownByDefault,
    help="Database logins of products: print, rotate, and which services were given them."
    " `credentials TENANT PRODUCT` prints.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ProductOf = Annotated[str, typer.Argument(metavar="PRODUCT", help="The key of the product.")]


@app.command()
@command
def show(parts: Parts, tenant: TenantArgument, product: ProductOf) -> Report:
    """Print the address, role and PASSWORD of a product's database login. They are computed each time, never stored."""
    login = login_of(parts, tenant, product)
    names = ("host", "port", "database", "schema", "role", "password", "may_log_in")
    data = {name: getattr(login, name) for name in names}
    return Report(data, [pairs(f"credentials of {product}", data)])


@app.command()
@command
def rotate(
    parts: Parts, tenant: TenantArgument, product: ProductOf, reason: Reason, by: By = "", seen: Seen = None
) -> Report:
    """Give a product's login role another password. The old one ends with the next step 6; open sessions go on."""
    login = login_of(parts, tenant, product)
    scope = Scope("family", tenant, login.family)
    act = Act("ensure", scope, reason, seen, rotates=product)
    recorded = operating_of(parts).carry_out(act, by=Operator.parse(by))
    data = {"scope": str(scope), "product": product, "role": login.role, "by": recorded.cause.source, "reason": reason,
            "at": recorded.time, "rotation": recorded.version}  # fmt: skip
    return Report(data, [f"{login.role} gets another password: see `tenantry runs show {scope}`"])


@app.command()
@command
def fetches(
    parts: Process,
    tenant: Annotated[str | None, typer.Option(metavar="TENANT", help="Only of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
) -> Report:
    """List which service was given the password of which login role, the newest first; no password is recorded."""
    with closing(CredentialFetches(parts.endpoints.database_url)) as record:
        found = record.latest(tenant_id=tenant, limit=limit)
    data = [asdict(each) for each in found]
    cells = [
        (clock(each.at), each.caller, each.tenant_id, each.product, each.role, each.rotation or None, each.token_id)
        for each in found
    ]
    columns = ("at", "caller", "tenant", "product", "role", "rotation", "jti")
    return Report(data, [table(f"{len(data)} fetches", columns, cells), *perhaps_more(data, limit)])
