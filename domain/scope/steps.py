"""Steps: the seven steps, the owner of each, its spec and its result.

    site     (tenant)            1 commerce   2 site         4 configuration   5 identity
    family   (tenant, family)    3 region     6 database
    product  (tenant, product)   2 membership 4 configuration 5 identity       7 license

A spec says what should be true after a step, by reference where persons are concerned (a version of the customer, not
a name), so that specs can be compared, digested and logged in the clear. Results say what the executor found or made;
they are what the read models are built from, and hold persons only in `Personal` fields.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from typing import Annotated, Literal

from pydantic import Field

from domain import names, stream_name
from domain.event import Value, added_in
from domain.personal import Personal


class Step(IntEnum):
    """The seven, in their order."""

    COMMERCE = 1
    SITE = 2
    REGION = 3
    CONFIGURATION = 4
    IDENTITY = 5
    DATABASE = 6
    LICENSE = 7


ScopeKind = stream_name.ScopeKind
Direction = Literal["ensure", "remove"]
Access = Literal["open", "closed"]
Residency = Literal["global", "pinned"]
Level = Literal["open", "closed", "retained", "absent"]

LEVELS: tuple[Level, ...] = ("absent", "retained", "closed", "open")
"""From the lowest to the highest."""

SCOPE_STEPS: dict[ScopeKind, tuple[Step, ...]] = {
    "site": (Step.COMMERCE, Step.SITE, Step.CONFIGURATION, Step.IDENTITY),
    "family": (Step.REGION, Step.DATABASE),
    "product": (Step.SITE, Step.CONFIGURATION, Step.IDENTITY, Step.LICENSE),
}


Scope = stream_name.ScopeId
"""What converges by itself; `str(scope)` names its stream."""


# -- specs ---------------------------------------------------------------------------------------------------------


class _StepSpec(Value):
    @property
    def parts(self) -> tuple[str, ...]:
        """What the step makes that has a life of its own, besides the thing itself (`""`)."""
        return ("",)


class CommerceSpec(_StepSpec):
    """The customer's metadata and access control are known as of these versions (0: unknown)."""

    kind: Literal["commerce"] = "commerce"
    customer_id: names.CustomerId
    metadata_version: int
    administrators_version: int


class SiteSpec(_StepSpec):
    """The site's name is reserved for this tenant, and the site is shown as open or closed."""

    kind: Literal["site"] = "site"
    site_name: names.SiteName
    access: Access


class _Membership(Value):
    kind: Literal["membership"] = "membership"
    product: names.ProductKey
    access: Access


class MembershipSpec(_Membership, _StepSpec):
    """The product is in the site's set of products, shown as open or closed."""


class RegionSpec(_StepSpec):
    """The family lives in `region`, or in the default one; a pin holds it there."""

    kind: Literal["region"] = "region"
    residency: Residency
    region: names.Region | None = None


class ConfigurationSpec(_StepSpec):
    """Core metadata of the site (product is None) or of a product on it are stored."""

    kind: Literal["configuration"] = "configuration"
    product: names.ProductKey | None
    residency: Residency
    region: names.Region | None
    metadata_version: int = 0


class IdentitySpec(_StepSpec):
    """Users, groups and permissions are stored as a whole set; permissions are in force or not."""

    kind: Literal["identity"] = "identity"
    product: names.ProductKey | None
    groups: tuple[str, ...]
    administrators_version: int
    in_force: bool


class RoleSpec(Value):
    """A product's login role, and whether it may log in. `rotation` is part of its password's derivation (0: none)."""

    product: names.ProductKey
    login: bool
    rotation: int = added_in(2, default=0)


class DatabaseSpec(_StepSpec):
    """The family's database exists, with one login role for each product."""

    kind: Literal["database"] = "database"
    family: names.FamilyKey
    roles: tuple[RoleSpec, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        return ("", *(role.product for role in self.roles))


class _License(Value):
    kind: Literal["license"] = "license"
    product: names.ProductKey
    edition: names.Edition
    users: int
    active: bool
    expires_at: datetime | None
    features: tuple[str, ...]


class LicenseSpec(_License, _StepSpec):
    """The entitlement lies where the product can read it."""


StepSpec = Annotated[
    CommerceSpec
    | SiteSpec
    | MembershipSpec
    | RegionSpec
    | ConfigurationSpec
    | IdentitySpec
    | DatabaseSpec
    | LicenseSpec,
    Field(discriminator="kind"),
]


# -- results --------------------------------------------------------------------------------------------------------


class User(Value):
    """A person with access."""

    account_id: names.AccountId
    name: Personal
    email: Personal
    roles: tuple[str, ...] = ()


class CommerceResult(Value):
    """What is known of the customer; `known` is False until commerce has spoken."""

    kind: Literal["commerce"] = "commerce"
    customer_id: names.CustomerId
    known: bool
    name: Personal | None = None
    country: str | None = None
    administrators: tuple[names.AccountId, ...] = ()


class SiteResult(Value):
    kind: Literal["site"] = "site"
    site_name: names.SiteName
    url: str
    access: Access


class MembershipResult(_Membership):
    """As it is shown."""


class RegionResult(Value):
    """Where the family lives."""

    kind: Literal["region"] = "region"
    region: names.Region
    shard: names.ShardName


class ConfigurationResult(Value):
    """What is stored for the site or product. `organization` is the customer's name, on the site only."""

    kind: Literal["configuration"] = "configuration"
    product: names.ProductKey | None
    settings: dict[str, str]
    organization: Personal | None = None


class Membership(Value):
    group: str
    account_id: names.AccountId


class Permission(Value):
    group: str
    permission: str


class IdentityResult(Value):
    """The whole set; what is not in it has no access. Permissions are empty while they are not in force."""

    kind: Literal["identity"] = "identity"
    product: names.ProductKey | None
    users: tuple[User, ...]
    groups: tuple[str, ...]
    memberships: tuple[Membership, ...]
    permissions: tuple[Permission, ...]


class RoleResult(Value):
    """A product's login role; `generation` is part of its name, and with `rotation` of its password's derivation."""

    product: names.ProductKey
    role: str
    generation: int
    login: bool
    rotation: int = added_in(2, default=0)


class DatabaseResult(Value):
    """`schema_name` is the schema that the roles work in; under database isolation it is `public` of `database`."""

    kind: Literal["database"] = "database"
    family: names.FamilyKey
    region: names.Region
    shard: names.ShardName
    isolation: Literal["schema", "database"]
    database: str
    schema_name: str
    roles: tuple[RoleResult, ...]

    def role_of(self, product: str) -> RoleResult | None:
        return next((role for role in self.roles if role.product == product), None)


class LicenseResult(_License):
    """The entitlement as it was laid down, and where."""

    location: str


StepResult = Annotated[
    CommerceResult
    | SiteResult
    | MembershipResult
    | RegionResult
    | ConfigurationResult
    | IdentityResult
    | DatabaseResult
    | LicenseResult,
    Field(discriminator="kind"),
]
