"""Are the licenses those that step 7 laid down?"""

from datetime import UTC, datetime

from domain.scope.steps import LicenseResult, Scope, Step
from projections.licenses import LICENSES, PROJECTION
from tests.projections.given import ensured, history, removed, rows_of

JIRA = Scope("product", "t1", "jira")
EXPIRY = datetime(2027, 1, 1, tzinfo=UTC)


def entitlement(*, users: int = 10, active: bool = True) -> LicenseResult:
    return LicenseResult(
        product="jira",
        edition="premium",
        users=users,
        active=active,
        expires_at=EXPIRY,
        features=("sandbox", "archive"),
        location="eu-1/t1/entitlement",
    )


def test_a_license_says_what_the_product_learned() -> None:
    log = history(ensured(JIRA, Step.LICENSE, entitlement()))
    assert rows_of(LICENSES, PROJECTION, log) == {
        ("t1", "jira"): {
            "edition": "premium",
            "users": 10,
            "active": True,
            "expires_at": EXPIRY,
            "features": ["sandbox", "archive"],
            "location": "eu-1/t1/entitlement",
        }
    }


def test_a_later_entitlement_replaces_it() -> None:
    log = history(
        ensured(JIRA, Step.LICENSE, entitlement()),
        ensured(JIRA, Step.LICENSE, entitlement(users=50, active=False)),
    )
    row = rows_of(LICENSES, PROJECTION, log)["t1", "jira"]
    assert (row["users"], row["active"]) == (50, False)


def test_a_removed_license_is_gone() -> None:
    log = history(ensured(JIRA, Step.LICENSE, entitlement()), removed(JIRA, Step.LICENSE))
    assert rows_of(LICENSES, PROJECTION, log) == {}
