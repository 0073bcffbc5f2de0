"""Commands: what a producer or an operator can ask of a customer or a tenant.

The eight commands are the `data` of the eight CloudEvents of the wire; adapters/kafka/cloudevents_reader.py reads
them from bytes and docs/schemas/ is generated from them. Unknown fields are refused: a mistyped `expires_at` must not
become a license that never ends. `RestoreTenant` is no message: an operator says it, at a terminal.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StrictInt, model_validator

from domain import names
from domain.times import in_utc

Residency = Literal["global", "pinned"]
Instant = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""A moment, in UTC."""
Users = Annotated[StrictInt, Field(ge=0, le=1_000_000_000)]
Revision = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
"""A CloudEvents integer that counts up; commerce keeps one for each product of a tenant, each tenant, each customer."""


class Data(BaseModel):
    """The data of one CloudEvent."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Account(Data):
    account_id: names.AccountId
    name: names.PersonName
    email: names.Email


class Administrator(Account):
    roles: tuple[names.Role, ...] = Field(default=(), max_length=32)


class UpdateCustomer(Data):
    """`commerce.customer.updated`: the whole of what commerce knows of a customer."""

    customer_id: names.CustomerId
    name: names.PersonName
    country: names.Country
    contacts: tuple[str | dict[str, Any], ...] = Field(default=(), max_length=100)
    administrators: tuple[Administrator, ...] = Field(default=(), max_length=1000)

    @model_validator(mode="after")
    def _each_administrator_once(self) -> Self:
        accounts = [person.account_id for person in self.administrators]
        if len(set(accounts)) != len(accounts):
            raise ValueError("an account_id stands twice in administrators: name each person once")
        return self


class _Placed(Data):
    residency: Residency | None = None
    region: names.Region | None = None

    @model_validator(mode="after")
    def _a_pin_names_its_region(self) -> Self:
        if self.residency == "pinned" and self.region is None:
            raise ValueError("residency 'pinned' needs a region: say where it is pinned to")
        return self


class Activation(_Placed):
    """One entry of `products` in `tenant.created`; carries its own revision."""

    product: names.ProductKey
    edition: names.Edition
    users: Users
    expires_at: Instant | None = None
    revision: Revision | None = None


class CreateTenant(_Placed):
    """`tenant.created`."""

    tenant_id: names.TenantId
    customer_id: names.CustomerId
    site_name: names.SiteName
    residency: Residency
    administrator: Account
    products: tuple[Activation, ...] = Field(default=(), max_length=1000)

    @model_validator(mode="after")
    def _each_product_once(self) -> Self:
        keys = [entry.product for entry in self.products]
        if len(set(keys)) != len(keys):
            raise ValueError("a product stands twice in products: name each product once")
        return self


class DestroyTenant(Data):
    """`tenant.destroyed`."""

    tenant_id: names.TenantId
    reason: names.Reason


class ActivateProduct(_Placed):
    """`product.activated`."""

    tenant_id: names.TenantId
    product: names.ProductKey
    edition: names.Edition
    users: Users
    expires_at: Instant | None = None


class DeactivateProduct(Data):
    """`product.deactivated`."""

    tenant_id: names.TenantId
    product: names.ProductKey
    reason: names.Reason


class SuspendProduct(Data):
    """`product.suspended`."""

    tenant_id: names.TenantId
    product: names.ProductKey
    reason: names.Reason


class UnsuspendProduct(Data):
    """`product.unsuspended`."""

    tenant_id: names.TenantId
    product: names.ProductKey


class UpdateLicense(Data):
    """`license.updated`: the whole license; a missing `expires_at` means that it does not expire."""

    tenant_id: names.TenantId
    product: names.ProductKey
    edition: names.Edition
    users: Users
    status: Literal["active", "inactive"]
    expires_at: Instant | None = None


class RestoreTenant(Data):
    """An operator's act: undo the destruction of a tenant, as long as its purge has not begun."""

    tenant_id: names.TenantId
    reason: names.Reason
    operator: str


ProductCommand = ActivateProduct | DeactivateProduct | SuspendProduct | UnsuspendProduct | UpdateLicense
TenantCommand = CreateTenant | DestroyTenant | ProductCommand
Command = UpdateCustomer | TenantCommand

COMMANDS: dict[str, type[Command]] = {
    "commerce.customer.updated": UpdateCustomer,
    "tenant.created": CreateTenant,
    "tenant.destroyed": DestroyTenant,
    "product.activated": ActivateProduct,
    "product.deactivated": DeactivateProduct,
    "product.suspended": SuspendProduct,
    "product.unsuspended": UnsuspendProduct,
    "license.updated": UpdateLicense,
}
"""CloudEvents `type` -> the command its data is."""
