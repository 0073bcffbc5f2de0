"""Does the last set of identities replace the one before, whole?"""

from domain.scope.steps import IdentityResult, Membership, Permission, Scope, Step, User
from projections.identities import GROUPS, MEMBERSHIPS, PERMISSIONS, PROJECTION, TABLES, USERS
from tests.projections.given import ensured, history, removed, rows_of

SITE, JIRA = Scope("site", "t1"), Scope("product", "t1", "jira")


def identities(*accounts: str, in_force: bool = True) -> IdentityResult:
    return IdentityResult(
        product=None,
        users=tuple(
            User(account_id=account, name=account.title(), email=f"{account}@example.com") for account in accounts
        ),
        groups=("users", "admins"),
        memberships=tuple(Membership(group="admins", account_id=account) for account in accounts),
        permissions=(Permission(group="admins", permission="administer"),) if in_force else (),
    )


def test_a_set_is_laid_out_in_four_tables() -> None:
    log = history(ensured(SITE, Step.IDENTITY, identities("ada")))
    assert rows_of(USERS, PROJECTION, log) == {
        ("t1", "", "ada"): {"name": "Ada", "email": "ada@example.com", "roles": []}
    }
    assert set(rows_of(GROUPS, PROJECTION, log)) == {("t1", "", "users"), ("t1", "", "admins")}
    assert set(rows_of(MEMBERSHIPS, PROJECTION, log)) == {("t1", "", "admins", "ada")}
    assert set(rows_of(PERMISSIONS, PROJECTION, log)) == {("t1", "", "admins", "administer")}


def test_an_administrator_who_is_not_in_the_next_set_is_gone() -> None:
    log = history(
        ensured(SITE, Step.IDENTITY, identities("ada", "bob")),
        ensured(SITE, Step.IDENTITY, identities("bob", "eve")),
    )
    assert {key[2] for key in rows_of(USERS, PROJECTION, log)} == {"bob", "eve"}
    assert {key[3] for key in rows_of(MEMBERSHIPS, PROJECTION, log)} == {"bob", "eve"}


def test_permissions_out_of_force_are_gone_and_the_users_stay() -> None:
    log = history(
        ensured(JIRA, Step.IDENTITY, identities("ada")),
        ensured(JIRA, Step.IDENTITY, identities("ada", in_force=False)),
    )
    assert rows_of(PERMISSIONS, PROJECTION, log) == {}
    assert set(rows_of(USERS, PROJECTION, log)) == {("t1", "jira", "ada")}


def test_the_site_and_its_products_do_not_touch_each_other() -> None:
    log = history(
        ensured(SITE, Step.IDENTITY, identities("ada")),
        ensured(JIRA, Step.IDENTITY, identities("bob")),
        removed(JIRA, Step.IDENTITY),
    )
    assert {table.name for table in TABLES if rows_of(table, PROJECTION, log)} == {table.name for table in TABLES}
    assert set(rows_of(USERS, PROJECTION, log)) == {("t1", "", "ada")}
