"""Does the oracle know the rules, and does it see every kind of fault?

The oracle shares no code with the domain; the golden cases bind both to the same description.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.kafka.cloudevents_writer import to_binary, to_structured
from demo.entries import Entry
from demo.oracle import Claim, Expected, disagreements, expect
from demo.stream import stream

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CASES = [
    json.loads(line) for line in (Path(__file__).parents[1] / "vectors" / "registers.jsonl").read_text().splitlines()
]
TENANT = "t-1"


class Stream:
    """Messages, one after the other; each with an id of its own unless it is given one."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def __call__(
        self, type_: str, data: dict[str, Any], *, revision: int | None = None, wave: int = 1, id_: str | None = None
    ) -> Stream:
        number = len(self.entries)
        headers, value = (to_structured, to_binary)[number % 2](
            type_, data, source="test", id=id_ or str(number), time=NOW, revision=revision
        )
        named = tuple((name, content.decode()) for name, content in headers)
        self.entries.append(Entry(wave, "any", None, named, value))
        return self

    def created(self, *products: dict[str, Any], tenant: str = TENANT, site: str = "site-1", **more: Any) -> Stream:
        data = {
            "tenant_id": tenant,
            "customer_id": "c-1",
            "site_name": site,
            "residency": "global",
            "administrator": {"account_id": "a-1", "name": "Ada", "email": "ada@example.com"},
            "products": list(products),
        }
        return self("tenant.created", {**data, **more}, revision=1)

    def product(
        self, verb: str, key: str = "compass", *, wave: int = 1, revision: int | None = None, **more: Any
    ) -> Stream:
        data = {"tenant_id": TENANT, "product": key, **more}
        if verb == "activated":
            data = {"edition": "free", "users": 5, **data}
        if verb in ("deactivated", "suspended"):
            data["reason"] = "unpaid"
        return self(f"product.{verb}", data, revision=revision, wave=wave)

    def expected(self) -> Expected:
        return expect(self.entries, now=NOW)


def levels(expected: Expected) -> dict[str, str]:
    return {key: product.level for key, product in expected.tenants[TENANT].products.items()}


# -- the rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_oracle_comes_to_the_golden_wishes(case: dict[str, Any]) -> None:
    said = Stream()
    for event in case["events"]:
        said(event["type"], event["data"], revision=event.get("revision"))
    (tenant,) = expect(said.entries, now=datetime.fromisoformat(case["now"])).tenants.values()
    desired_state = case["desired_state"]["products"]
    for key, product in tenant.products.items():
        spec = {"open": "open", "closed": "closed"}.get(product.level, "gone")
        assert spec == desired_state[key]["desired"], key
    assert {key for key, product in desired_state.items() if product["desired"] != "gone"} <= set(tenant.products)
    assert tenant.destroyed == case["desired_state"]["tenant"]["destroyed"]


def test_what_was_deactivated_in_a_later_wave_is_retained() -> None:
    said = Stream().created().product("activated", revision=1).product("deactivated", revision=2, wave=2)
    assert levels(said.expected()) == {"compass": "retained"}


def test_what_never_was_activated_when_it_arrived_is_absent() -> None:
    said = Stream().created().product("deactivated", revision=2).product("activated", revision=1)
    expected = said.expected()
    assert levels(expected) == {"compass": "absent"}
    assert not expected.unsure


def test_what_came_and_went_in_one_wave_is_left_out() -> None:
    said = Stream().created().product("activated", revision=1).product("deactivated", revision=2)
    assert (TENANT, "compass") in said.expected().unsure


def test_an_app_is_never_more_open_than_its_host() -> None:
    said = (
        Stream().created().product("activated", "confluence", revision=1).product("activated", "diagrams", revision=1)
    )
    assert levels(said.expected()) == {"confluence": "open", "diagrams": "open"}
    said.product("suspended", "confluence", revision=2)
    assert levels(said.expected()) == {"confluence": "closed", "diagrams": "closed"}


def test_products_that_came_before_their_tenant_count_once_it_is_there() -> None:
    said = Stream().product("activated", revision=1)
    assert not said.expected().tenants
    assert len(said.expected().waiting) == 1
    assert levels(said.created().expected()) == {"compass": "open"}
    assert not said.expected().waiting


def test_repetitions_are_counted_and_other_content_is_refused() -> None:
    said = Stream().created()
    said.entries.append(said.entries[0])
    said("tenant.destroyed", {"tenant_id": TENANT, "reason": "over"}, id_="0")
    expected = said.expected()
    assert expected.duplicates == 1
    assert expected.quarantine == {"same-id-other-content": 1}


def test_without_revisions_the_life_cycle_refuses() -> None:
    said = Stream().created().product("suspended").product("activated").product("activated").product("unsuspended")
    said.product("suspended").product("suspended")
    refused = {"not-active": 1, "already-active": 1, "not-suspended": 1, "already-suspended": 1}
    assert said.expected().quarantine == refused


def test_a_lower_revision_is_stale_and_the_same_with_other_content_contradicts() -> None:
    said = Stream().created().product("activated", revision=5)
    said.product("suspended", revision=4).product("suspended", revision=5)
    expected = said.expected()
    assert expected.stale == 1
    assert expected.quarantine == {"same-revision-other-content": 1}
    assert levels(expected) == {"compass": "open"}


def test_who_comes_later_waits_for_a_site_name() -> None:
    said = Stream().created({"product": "compass", "edition": "free", "users": 1}).created(tenant="t-2")
    said.entries[-1] = Entry(2, *_rest(said.entries[-1]))
    claims = said.expected().claims()
    assert claims[Claim("t-2", "site", "saga")] == "waiting"
    assert [claim for claim in claims if claim.tenant == "t-2"] == [Claim("t-2", "site", "saga")]


def _rest(entry: Entry) -> tuple[str, str | None, tuple[tuple[str, str], ...], bytes | None]:
    return entry.topic, entry.key, entry.headers, entry.value


def test_a_pin_away_from_the_family_fails_and_its_sibling_lives() -> None:
    said = Stream().created(region="eu").product("activated", "jira-software", revision=1)
    said.product("activated", "jira-service-management", revision=1, wave=2, residency="pinned", region="us")
    claims = said.expected().claims()
    assert claims[Claim(TENANT, "jira-service-management", "saga")] == "failed"
    assert Claim(TENANT, "jira-service-management", "login role") not in claims
    assert claims[Claim(TENANT, "jira-software", "saga")] == "converged open"
    assert claims[Claim(TENANT, "family jira", "region")] == "eu"


def test_the_customers_administrators_replace_the_founder() -> None:
    said = Stream().created({"product": "compass", "edition": "free", "users": 1})
    founder = [("a-1", "Ada", "ada@example.com", ("site-administrator",))]
    assert said.expected().claims()[Claim(TENANT, "compass", "users")] == founder
    people = [{"account_id": "a-2", "name": "Bea", "email": "bea@example.com", "roles": ["billing"]}]
    customer = {"customer_id": "c-1", "name": "C", "country": "DE", "administrators": people}
    said("commerce.customer.updated", customer, revision=1)
    claims = said.expected().claims()
    for subject in ("site", "compass"):
        assert claims[Claim(TENANT, subject, "users")] == [("a-2", "Bea", "bea@example.com", ("billing",))]


# -- the stream of the demo ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_demos_stream_has_every_level_and_decides_everything(seed: int) -> None:
    expected = expect(stream(seed=seed, tenants=60), now=datetime(2026, 11, 1, tzinfo=UTC))
    assert all(expected.counts().values())
    assert not expected.unsure
    assert len(expected.waiting) == 1


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_demos_stream_breaks_every_rule(seed: int) -> None:
    expected = expect(stream(seed=seed, tenants=60))
    assert set(expected.quarantine) == {
        *("already-active", "already-suspended", "not-active", "not-suspended", "revision-missing"),
        *("bad-attribute", "bad-data", "empty", "not-cloudevent", "not-json", "too-large", "unknown-type"),
        *("unknown-edition", "unknown-product"),
        *("same-id-other-content", "same-revision-other-content", "tenant-id-used-twice"),
    }


# -- planted faults ------------------------------------------------------------------------------------------------


def small() -> Expected:
    offers = [{"product": key, "edition": "free", "users": 1} for key in ("compass", "atlas")]
    return Stream().created(*offers).product("suspended", "atlas", revision=2).expected()


def test_what_is_as_expected_is_no_disagreement() -> None:
    expected = small()
    assert disagreements(expected, expected.claims()) == []


@pytest.mark.parametrize("claim", sorted(small().claims()), ids="-".join)
def test_whatever_is_missing_is_named(claim: Claim) -> None:
    expected = small()
    found = {each: value for each, value in expected.claims().items() if each != claim}
    (named,) = disagreements(expected, found)
    assert (named.claim, named.found) == (claim, "nothing")


@pytest.mark.parametrize("claim", sorted(small().claims()), ids="-".join)
def test_whatever_is_otherwise_is_named(claim: Claim) -> None:
    expected = small()
    (named,) = disagreements(expected, {**expected.claims(), claim: "otherwise"})
    assert (named.claim, named.found) == (claim, "otherwise")


@pytest.mark.parametrize(
    "plant",
    [
        lambda: Claim("?", "t_0123456789abcdef0123_g3", "database"),
        lambda: Claim("?", "r_0123456789abcdef0123_g3", "role"),
        lambda: Claim("t-9", "site", "saga"),
        lambda: Claim(TENANT, "confluence", "license"),
        lambda: Claim("", "family:t-1:compass, generation 3", "completions"),
        lambda: Claim("", "quarantine", "not-json"),
    ],
)
def test_what_must_not_be_there_is_named(plant: Callable[[], Claim]) -> None:
    expected = small()
    (named,) = disagreements(expected, {**expected.claims(), plant(): "there"})
    assert (named.claim, named.expected) == (plant(), "nothing")


def test_a_suspended_products_role_that_may_log_in_is_named() -> None:
    expected = small()
    role = Claim(TENANT, "atlas", "login role")
    assert expected.claims()[role] == "may not log in"
    (named,) = disagreements(expected, {**expected.claims(), role: "may log in"})
    assert named.claim == role


def subjects(claims: Iterable[Claim]) -> set[str]:
    return {claim.subject for claim in claims if claim.tenant == TENANT}


def test_facts_are_about_the_site_its_families_and_its_products() -> None:
    assert subjects(small().claims()) == {"site", "family compass", "family atlas", "compass", "atlas"}
