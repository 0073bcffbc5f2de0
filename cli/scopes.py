"""Scope arguments of commands: their text forms and their parsing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from domain.errors import UsageError, problem
from domain.scope.steps import Scope

if TYPE_CHECKING:
    from runtime.compose import Parts

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="The id of the tenant.")]

ScopeArgument = Annotated[
    str, typer.Argument(metavar="SCOPE", help="As `runs list` prints it; or a tenant, with a product after it.")
]
ScopesArgument = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE",
        help="As `runs list` prints it, or a tenant; `-` reads from stdin: a scope a line, and the version seen.",
    ),
]
ProductArgument = Annotated[str | None, typer.Argument(metavar="[PRODUCT]", help="A product of that tenant.")]


def product_of(parts: Parts, key: str) -> str:
    """The key of a product that the catalogue has; UsageError where it has none of that key."""
    if key not in parts.catalog:
        raise UsageError(problem("product-not-in-catalogue", key=key, products=", ".join(parts.catalog.products)))
    return key


def scope_of(text: str, product: str | None) -> Scope:
    """`site:T`, `family:T:KEY`, `product:T:KEY`; or `T PRODUCT`; or `T` alone for its site. UsageError otherwise."""
    if ":" not in text:
        return Scope("product", text, product) if product else Scope("site", text)
    try:
        scope = Scope.parse(text)
    except ValueError as error:
        raise UsageError(problem("scope-malformed", reason=error)) from None
    if product is not None:
        raise UsageError(problem("scope-named-twice", text=text, product=product))
    return scope
