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
from typing import Literal

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


class _OfStep(Value, tag_field="kind"):
    """A spec or result; `kind` tells which, here and in the log."""

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)


class _StepSpec(_OfStep):
    @property
    def parts(self) -> tuple[str, ...]:
        """What the step makes that has a life of its own, besides the thing itself (`""`)."""
        return ("",)


class CommerceSpec(_StepSpec, tag="commerce"):
    """The customer's metadata and access control are known as of these versions (0: unknown)."""

    customer_id: names.CustomerId
    metadata_version: int
    administrators_version: int


class SiteSpec(_StepSpec, tag="site"):
    """The site's name is reserved for this tenant, and the site is shown as open or closed."""

    site_name: names.SiteName
    access: Access


class _Membership(_OfStep, tag="membership"):
    product: names.ProductKey
    access: Access


class MembershipSpec(_Membership, _StepSpec):
    """The product is in the site's set of products, shown as open or closed."""


class RegionSpec(_StepSpec, tag="region"):
    """The family lives in `region`, or in the default one; a pin holds it there."""

    residency: Residency
    region: names.Region | None = None


class ConfigurationSpec(_StepSpec, tag="configuration"):
    """Core metadata of the site (product is None) or of a product on it are stored."""

    product: names.ProductKey | None
    residency: Residency
    region: names.Region | None
    metadata_version: int = 0


class IdentitySpec(_StepSpec, tag="identity"):
    """Users, groups and permissions are stored as a whole set; permissions are in force or not."""

    product: names.ProductKey | None
    groups: tuple[str, ...]
    administrators_version: int
    in_force: bool


class RoleSpec(Value):
    """A product's login role, and whether it may log in. `rotation` is part of its password's derivation (0: none)."""

    product: names.ProductKey
    login: bool
    rotation: int = added_in(2, default=0)


class DatabaseSpec(_StepSpec, tag="database"):
    """The family's database exists, with one login role for each product."""

    family: names.FamilyKey
    roles: tuple[RoleSpec, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        return ("", *(role.product for role in self.roles))


class _License(_OfStep, tag="license"):
    product: names.ProductKey
    edition: names.Edition
    users: int
    active: bool
    expires_at: datetime | None
    features: tuple[str, ...]


class LicenseSpec(_License, _StepSpec):
    """The entitlement lies where the product can read it."""


StepSpec = (
    CommerceSpec
    | SiteSpec
    | MembershipSpec
    | RegionSpec
    | ConfigurationSpec
    | IdentitySpec
    | DatabaseSpec
    | LicenseSpec
)


# -- results --------------------------------------------------------------------------------------------------------


class User(Value):
    """A person with access."""

    account_id: names.AccountId
    name: Personal
    email: Personal
    roles: tuple[str, ...] = ()


class CommerceResult(_OfStep, tag="commerce"):
    """What is known of the customer; `known` is False until commerce has spoken."""

    customer_id: names.CustomerId
    known: bool
    name: Personal | None = None
    country: str | None = None
    administrators: tuple[names.AccountId, ...] = ()


class SiteResult(_OfStep, tag="site"):
    site_name: names.SiteName
    url: str
    access: Access


class MembershipResult(_Membership):
    """As it is shown."""


class RegionResult(_OfStep, tag="region"):
    """Where the family lives."""

    region: names.Region
    shard: names.ShardName


class ConfigurationResult(_OfStep, tag="configuration"):
    """What is stored for the site or product. `organization` is the customer's name, on the site only."""

    product: names.ProductKey | None
    settings: dict[str, str]
    organization: Personal | None = None


class Membership(Value):
    group: str
    account_id: names.AccountId


class Permission(Value):
    group: str
    permission: str


class IdentityResult(_OfStep, tag="identity"):
    """The whole set; what is not in it has no access. Permissions are empty while they are not in force."""

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


class DatabaseResult(_OfStep, tag="database"):
    """`schema_name` is the schema that the roles work in; under database isolation it is `public` of `database`."""

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


StepResult = (
    CommerceResult
    | SiteResult
    | MembershipResult
    | RegionResult
    | ConfigurationResult
    | IdentityResult
    | DatabaseResult
    | LicenseResult
)
