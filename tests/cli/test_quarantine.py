"""Can an operator deal with a night's worth of messages that could not be applied, or that wait for their tenant?"""

from __future__ import annotations

import pytest

from adapters.kafka.ports import Message
from runtime.compose.intake import lifecycle_of, messages_of
from tests.cli.conftest import TENANT, Desk

NUMBERS = range(100, 107)


def garbage(desk: Desk, offset: int) -> None:
    message = Message(
        topic="tenantry.lifecycle",
        partition=0,
        offset=offset,
        key=b"x",
        value=b"not json %d" % offset,
        headers=(),
        timestamp_ms=0,
        topic_id="t",
    )
    lifecycle_of(desk.parts).intake([messages_of(desk.parts).read(message)])


@pytest.fixture
def night(desk: Desk) -> Desk:
    """Three messages that are not JSON (1 to 3), and two of a product that is not in the catalogue (4 and 5)."""
    for offset in NUMBERS[:3]:
        garbage(desk, offset)
    for users in (1, 2):
        desk.comes("license.updated", product="no-such-product", edition="free", users=users, status="active")
    return desk


def open_ones(desk: Desk, *filters: str) -> list[int]:
    return [entry["number"] for entry in desk.json("quarantine", "list", *filters)]


def test_the_quarantine_is_listed_by_rule_source_type_and_tenant(night: Desk) -> None:
    assert open_ones(night) == [1, 2, 3, 4, 5]
    assert open_ones(night, "--rule", "not-json") == [1, 2, 3]
    assert open_ones(night, "--source", "/commerce") == [4, 5]
    assert open_ones(night, "--type", "license.updated") == [4, 5]
    assert open_ones(night, "--tenant", TENANT) == [4, 5]
    assert open_ones(night, "--tenant", TENANT, "--rule", "not-json") == []
    assert "/commerce" in night.says("quarantine", "list")


def test_all_that_broke_a_rule_are_discarded_with_one_reason(night: Desk) -> None:
    said = night.says("quarantine", "discard", "--rule", "not-json", "--reason", "a script of ours", "--as", "Ada")
    assert said.splitlines() == [f"message {number} discarded" for number in (1, 2, 3)]
    assert open_ones(night) == [4, 5]
    night.parts.log.advance_mark()
    acts = night.says("acts", "--what", "discarded")
    assert acts.count("a script of ours") == 3
    no_more = night.says("quarantine", "discard", "--rule", "not-json", "--reason", "again", code=2)
    assert "no open message matches" in no_more


def test_many_numbers_and_those_on_stdin_are_discarded_and_one_that_is_not_open_stops_none(night: Desk) -> None:
    night.says("quarantine", "discard", "1", "3", "--reason", "noise")
    assert open_ones(night) == [2, 4, 5]
    said = night.says("quarantine", "discard", "-", "--reason", "noise", stdin="3\n2\n\n4 5\n", code=1, stderr=False)
    assert said.splitlines() == [f"message {number} discarded" for number in (2, 4, 5)]
    assert open_ones(night) == []


def test_a_retry_says_the_number_and_the_reason_of_a_new_refusal(night: Desk) -> None:
    said = night.says("quarantine", "retry", "4", code=1, stderr=False)
    assert said.startswith("message 4 was refused again, as message 6: unknown-product: ")
    assert "no-such-product" in said
    told = night.says("quarantine", "retry", "--source", "/commerce", "--json", code=1, stderr=False)
    assert '"number": 5, "outcome": "quarantined", "refused_as": 7' in told
    assert open_ones(night) == [1, 2, 3, 7, 8]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("discard", "--reason", "x"), "no message is named"),
        (("retry",), "no message is named"),
        (("retry", "1", "--rule", "not-json"), "not both"),
        (("discard", "one", "--reason", "x"), "one is no number of a message"),
        (("discard", "0", "--reason", "x"), "0 is no number of a message"),
        (("discard", "²", "--reason", "x"), "is no number of a message"),
        (("retry", "--source", "/nobody"), "no open message matches"),
    ],
)
def test_what_names_no_message_is_refused(night: Desk, arguments: tuple[str, ...], said: str) -> None:
    assert said in night.says("quarantine", *arguments, code=2)
    assert open_ones(night) == [1, 2, 3, 4, 5]


def test_the_waiting_list_names_tenants_ages_and_producers(desk: Desk) -> None:
    assert desk.json("waiting", "list") == []
    for reason in ("unpaid", "still unpaid"):
        desk.comes("product.suspended", tenant_id="t-9", product="confluence", reason=reason)
    desk.comes("tenant.destroyed", tenant_id="t-8", reason="left")
    first, second = desk.json("waiting", "list")
    assert (first["tenant_id"], first["messages"], first["sources"]) == ("t-9", 2, ["/commerce"])
    assert first["types"] == ["product.suspended"]
    assert 0 <= first["newest_seconds"] <= first["oldest_seconds"] < 600
    assert (second["tenant_id"], second["types"]) == ("t-8", ["tenant.destroyed"])
    said = desk.says("waiting", "list")
    assert "t-9" in said
    assert "/commerce" in said
