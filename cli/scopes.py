"""Scope arguments of commands: their text forms and their parsing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from domain.errors import UsageError
from domain.scope.steps import Scope

if TYPE_CHECKING:
    from runtime.compose import Parts

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="The id of the tenant.")]

ScopeArgument = Annotated[
    str, typer.Argument(metavar="SCOPE", help="As `runs list` prints it; or a tenant, with a product after it.")
]
ScopesArgument = Annotated[
    str, typer.Argument(metavar="SCOPE", help="The same; or `-` for scopes on stdin, one a line.")
]
ProductArgument = Annotated[str | None, typer.Argument(metavar="[PRODUCT]", help="A product of that tenant.")]


def product_of(parts: Parts, key: str) -> str:
    """The key of a product that the catalogue has; UsageError where it has none of that key."""
    if key not in parts.catalog:
        raise UsageError(f"product {key} is not in the catalogue: it has {', '.join(parts.catalog.products)}")
    return key


def scope_of(text: str, product: str | None) -> Scope:
    """`site:T`, `family:T:KEY`, `product:T:KEY`; or `T PRODUCT`; or `T` alone for its site. UsageError otherwise."""
    if ":" not in text:
        return Scope("product", text, product) if product else Scope("site", text)
    try:
        scope = Scope.parse(text)
    except ValueError as error:
        raise UsageError(f"{error}, or TENANT PRODUCT: see `tenantry runs list`") from None
    if product is not None:
        raise UsageError(f"{text} names a scope already: leave {product} out")
    return scope
