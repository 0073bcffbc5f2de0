"""Do the placements say where each family lives?"""

from domain.scope.steps import DatabaseResult, RegionResult, RoleResult, Scope, Step
from projections.placements import PLACEMENTS, PROJECTION
from tests.projections.given import ensured, history, removed, rows_of

FAMILY = Scope("family", "t1", "jira")
REGION = RegionResult(region="eu", shard="eu-1")
DATABASE = DatabaseResult(
    family="jira",
    region="eu",
    shard="eu-1",
    isolation="schema",
    database="shard_eu_1",
    schema_name="t1_jira_g1",
    roles=(RoleResult(product="jira-software", role="t1_js_g1", generation=1, login=True),),
)
NO_DATABASE = {"isolation": None, "database": None, "schema_name": None, "roles": None}


def test_a_family_has_a_region_before_it_has_a_database() -> None:
    log = history(ensured(FAMILY, Step.REGION, REGION))
    assert rows_of(PLACEMENTS, PROJECTION, log) == {("t1", "jira"): {"region": "eu", "shard": "eu-1"}}


def test_step_6_adds_the_database_and_its_roles() -> None:
    log = history(ensured(FAMILY, Step.REGION, REGION), ensured(FAMILY, Step.DATABASE, DATABASE))
    assert rows_of(PLACEMENTS, PROJECTION, log)["t1", "jira"] == {
        "region": "eu",
        "shard": "eu-1",
        "isolation": "schema",
        "database": "shard_eu_1",
        "schema_name": "t1_jira_g1",
        "roles": [{"product": "jira-software", "role": "t1_js_g1", "generation": 1, "login": True}],
    }


def test_teardown_takes_the_database_and_then_the_row() -> None:
    log = history(
        ensured(FAMILY, Step.REGION, REGION),
        ensured(FAMILY, Step.DATABASE, DATABASE),
        removed(FAMILY, Step.DATABASE),
        removed(FAMILY, Step.REGION),
    )
    assert rows_of(PLACEMENTS, PROJECTION, log[:3])["t1", "jira"] == {
        "region": "eu",
        "shard": "eu-1",
        **NO_DATABASE,
    }
    assert rows_of(PLACEMENTS, PROJECTION, log) == {}
