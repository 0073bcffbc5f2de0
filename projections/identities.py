"""Read model of access: users, groups, memberships and permissions.

Step 5 stores the whole set of a site or product, so a completion replaces its rows in all four tables: who is
not in the new set has no access. The site's own rows have the product `''`. The view `identities` shows each
user once for the site and once for each product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Column, Connection, CreateView, Table, Text, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from domain.event import Recorded
from domain.event_registry import REGISTRY
from domain.scope.state import StepCompleted
from domain.scope.steps import IdentityResult, Step
from projections.base import METADATA, VIEW, Change, Delete, Projection, Row, Set, rows


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


USERS: Final = Table(
    "identity_users",
    METADATA,
    _key("tenant_id"),
    _key("product"),
    _key("account_id"),
    Column("name", Text),
    Column("email", Text),
    Column("roles", JSONB),
)
GROUPS: Final = Table("identity_groups", METADATA, _key("tenant_id"), _key("product"), _key("group_name"))
MEMBERSHIPS: Final = Table(
    "identity_memberships",
    METADATA,
    _key("tenant_id"),
    _key("product"),
    _key("group_name"),
    _key("account_id"),
)
PERMISSIONS: Final = Table(
    "identity_permissions",
    METADATA,
    _key("tenant_id"),
    _key("product"),
    _key("group_name"),
    _key("permission"),
)
TABLES: Final = (USERS, GROUPS, MEMBERSHIPS, PERMISSIONS)

_of_user = (
    MEMBERSHIPS.c.tenant_id == USERS.c.tenant_id,
    MEMBERSHIPS.c.product == USERS.c.product,
    MEMBERSHIPS.c.account_id == USERS.c.account_id,
)
_groups = select(MEMBERSHIPS.c.group_name).where(*_of_user).order_by(MEMBERSHIPS.c.group_name)
_permissions = (
    select(PERMISSIONS.c.permission)
    .distinct()
    .where(
        *_of_user,
        PERMISSIONS.c.tenant_id == MEMBERSHIPS.c.tenant_id,
        PERMISSIONS.c.product == MEMBERSHIPS.c.product,
        PERMISSIONS.c.group_name == MEMBERSHIPS.c.group_name,
    )
    .order_by(PERMISSIONS.c.permission)
)

_VIEW: Final = CreateView(
    select(
        USERS,
        func.array(_groups.scalar_subquery(), type_=ARRAY(Text)).label("groups"),
        func.array(_permissions.scalar_subquery(), type_=ARRAY(Text)).label("permissions"),
    ),
    "identities",
    metadata=METADATA,
)
IDENTITIES: Final = _VIEW.table
IDENTITIES.info[VIEW] = _VIEW.selectable


def handle(recorded: Recorded) -> Iterator[Change]:
    match recorded.event:
        case StepCompleted(step=Step.IDENTITY) as event:
            of = (event.tenant_id, event.key)
            yield from (Delete(table, of) for table in TABLES)
            if isinstance(event.result, IdentityResult) and event.direction == "ensure":
                yield from _set(of, event.result)
        case _:
            pass


def _set(of: tuple[str, str], result: IdentityResult) -> Iterator[Change]:
    for user in result.users:
        columns = {"name": user.name, "email": user.email, "roles": list(user.roles)}
        yield Set(USERS, (*of, user.account_id), columns)
    for group in result.groups:
        yield Set(GROUPS, (*of, group))
    for membership in result.memberships:
        yield Set(MEMBERSHIPS, (*of, membership.group, membership.account_id))
    for permission in result.permissions:
        yield Set(PERMISSIONS, (*of, permission.group, permission.permission))


def query(connection: Connection, tenant_id: str) -> dict[str, list[Row]]:
    """`users`, `groups`, `memberships` and `permissions` of the tenant's site and products."""
    return {
        table.name.removeprefix("identity_"): rows(
            connection, select(table).where(table.c.tenant_id == tenant_id).order_by(*table.primary_key)
        )
        for table in TABLES
    }


PROJECTION: Final = Projection(
    name="identities",
    tables=TABLES,
    handles=REGISTRY.projected_by("identities"),
    handle=handle,
    query=query,
    personal=frozenset({"name", "email"}),
)
