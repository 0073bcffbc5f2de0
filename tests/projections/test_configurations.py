"""Are the configurations those that step 4 stored?"""

from domain.scope.steps import ConfigurationResult, Scope, Step
from projections.configurations import CONFIGURATIONS, PROJECTION
from tests.projections.given import ensured, history, removed, rows_of

SITE, JIRA = Scope("site", "t1"), Scope("product", "t1", "jira")
OF_SITE = ConfigurationResult(product=None, settings={"locale": "nl"}, organization="Acme")
OF_JIRA = ConfigurationResult(product="jira", settings={"region": "eu"})


def test_site_and_product_have_a_configuration_each() -> None:
    log = history(ensured(SITE, Step.CONFIGURATION, OF_SITE), ensured(JIRA, Step.CONFIGURATION, OF_JIRA))
    assert rows_of(CONFIGURATIONS, PROJECTION, log) == {
        ("t1", ""): {"settings": {"locale": "nl"}, "organization": "Acme"},
        ("t1", "jira"): {"settings": {"region": "eu"}, "organization": None},
    }


def test_a_removed_configuration_is_gone() -> None:
    log = history(
        ensured(SITE, Step.CONFIGURATION, OF_SITE),
        ensured(JIRA, Step.CONFIGURATION, OF_JIRA),
        removed(JIRA, Step.CONFIGURATION),
    )
    assert list(rows_of(CONFIGURATIONS, PROJECTION, log)) == [("t1", "")]


def test_other_steps_leave_it_alone() -> None:
    log = history(ensured(SITE, Step.CONFIGURATION, OF_SITE), removed(SITE, Step.IDENTITY))
    assert list(rows_of(CONFIGURATIONS, PROJECTION, log)) == [("t1", "")]
