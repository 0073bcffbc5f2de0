"""Is what is not good kept, told and passed by?

The table of bad input, row by row, through Kafka: each bad message is followed in its partition by a good one, which
must be applied.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.journeys.events import (
    LIFECYCLE,
    Event,
    Raw,
    activated,
    created,
    deactivated,
    destroyed,
    new_tenant,
    suspended,
    unsuspended,
)
from tests.journeys.running import Running, wait_for

STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def rewritten(old: bytes, new: bytes) -> Callable[[str], Raw]:
    """A good event with a piece of its text replaced."""

    def bad(tenant: str) -> Raw:
        good = activated(tenant, "atlas", revision=1).raw()
        assert good.value is not None
        assert old in good.value
        return replace(good, value=good.value.replace(old, new, 1))

    return bad


def bytes_only(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = STRUCTURED) -> Callable[[str], Raw]:
    return lambda tenant: Raw(LIFECYCLE, tenant.encode(), value, headers)


def event(type_: str, **data: Any) -> Callable[[str], Event]:
    return lambda tenant: Event(type_, {"tenant_id": tenant, **data}, revision=1)


UNREADABLE: list[tuple[str, str, Callable[[str], Event | Raw]]] = [
    ("not JSON", "not-json", bytes_only(b'{"specversion": "1.0", ')),
    ("no UTF-8", "not-json", bytes_only(b"\xff\xfe\xfd")),
    ("a NaN in it", "not-json", rewritten(b'"users": 5', b'"users": NaN')),
    ("a duplicate key", "not-json", rewritten(b'"users": 5', b'"users": 5, "users": 6')),
    ("nested too deep", "not-json", bytes_only(b"[" * 100_000)),
    ("no value", "empty", bytes_only(None)),
    ("no CloudEvent", "not-cloudevent", bytes_only(b'{"hello": "world"}', ())),
    ("not an object", "not-cloudevent", bytes_only(b"[1, 2, 3]")),
    ("another specversion", "not-cloudevent", rewritten(b'"1.0"', b'"0.3"')),
    ("a batch", "unsupported-mode", bytes_only(b"[]", (("content-type", b"application/cloudevents-batch+json"),))),
    (
        "binary without an id",
        "bad-attribute",
        bytes_only(b"{}", (("ce_specversion", b"1.0"), ("ce_type", b"product.activated"))),
    ),
    ("no source", "bad-attribute", rewritten(b'"/journeys"', b"null")),
    ("a revision that is no integer", "bad-attribute", rewritten(b'"revision": 1', b'"revision": 1.5')),
    ("an unknown type", "unknown-type", event("product.exploded")),
    ("an unknown product", "unknown-product", event("product.activated", product="sheets", edition="free", users=1)),
    ("an unknown edition", "unknown-edition", event("product.activated", product="atlas", edition="gold", users=1)),
    ("data that does not fit", "bad-data", event("product.activated", product="atlas", edition="free", users="5")),
    ("a field too many", "bad-data", event("product.activated", product="atlas", edition="free", users=5, expires="x")),
    ("a field too few", "bad-data", event("product.suspended", product="atlas")),
    ("over 1 MiB", "too-large", event("product.suspended", product="atlas", reason="x" * 2**20)),
]


@pytest.mark.parametrize(("rule", "bad"), [row[1:] for row in UNREADABLE], ids=[row[0] for row in UNREADABLE])
def test_what_cannot_be_read_is_quarantined_whole_and_passed_by(
    tenantry: Running, rule: str, bad: Callable[[str], Event | Raw]
) -> None:
    tenant = new_tenant()
    message = bad(tenant)
    good = activated(tenant, "atlas", revision=2)
    tenantry.send(created(tenant, revision=1), message, good)
    tenantry.until_taken_in(good)
    assert outcome(tenantry, good) == "recorded"
    raw = message.raw() if isinstance(message, Event) else message
    entry = newest(tenantry)
    assert entry["rule"] == rule
    assert len(entry["reason"]) < 1000
    assert "\n" not in entry["reason"]
    assert (entry["topic"], entry["state"]) == (LIFECYCLE, "open")
    (good_place,) = tenantry.rows('SELECT partition, "offset" FROM incoming WHERE id = %s', good.id)
    assert (entry["partition"], entry["offset"] + 1) == (good_place["partition"], good_place["offset"])
    shown = tenantry.json("quarantine", "show", entry["number"])
    assert shown["key"] == tenant
    assert shown["headers"].keys() == {name for name, _ in raw.headers}
    if raw.value is None:
        assert shown["value"] is None
    elif rule != "not-json":
        assert json.loads(json.loads(f'"{shown["value"]}"')) == json.loads(raw.value)


REFUSED: list[tuple[str, str, Callable[[str], list[Event]]]] = [
    (
        "a second activation",
        "already-active",
        lambda tenant: [created(tenant, "atlas"), activated(tenant, "atlas", users=6)],
    ),
    ("a suspend of nothing", "not-active", lambda tenant: [created(tenant), suspended(tenant, "atlas")]),
    (
        "an unsuspend of what is not suspended",
        "not-suspended",
        lambda tenant: [created(tenant, "atlas"), unsuspended(tenant, "atlas")],
    ),
    (
        "the same revision with other content",
        "same-revision-other-content",
        lambda tenant: [
            created(tenant),
            activated(tenant, "atlas", revision=4),
            activated(tenant, "atlas", revision=4, users=6),
        ],
    ),
    (
        "no revision where there was one",
        "revision-missing",
        lambda tenant: [created(tenant), activated(tenant, "atlas", revision=4), suspended(tenant, "atlas")],
    ),
    (
        "a tenant id used twice",
        "tenant-id-used-twice",
        lambda tenant: [created(tenant), created(tenant, site_name=f"other-{tenant}")],
    ),
]


@pytest.mark.parametrize(("rule", "story"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_the_life_cycle_refuses_is_quarantined_with_the_rule(
    tenantry: Running, rule: str, story: Callable[[str], list[Event]]
) -> None:
    tenant = new_tenant()
    events = story(tenant)
    good = activated(tenant, "compass")
    tenantry.send(*events, good)
    tenantry.until_taken_in(*events, good)
    assert [outcome(tenantry, each) for each in [*events, good]] == [
        *["recorded"] * (len(events) - 1),
        "quarantined",
        "recorded",
    ]
    entry = newest(tenantry)
    assert (entry["rule"], entry["id"], entry["tenant_id"]) == (rule, events[-1].id, tenant)


def test_a_stale_event_is_recorded_as_stale(tenantry: Running) -> None:
    tenant = new_tenant()
    stale = deactivated(tenant, "atlas", revision=3)
    tenantry.send(created(tenant, revision=1), activated(tenant, "atlas", revision=5), stale)
    tenantry.until_taken_in(stale)
    assert outcome(tenantry, stale) == "stale"
    assert (
        tenantry.one(
            "SELECT count(*) FROM stored_events"
            " WHERE topic = 'tenantry.tenant-message-stale' AND position(%s in originator_id) > 0",
            tenant,
        )
        == 1
    )
    assert tenantry.show(tenant)["desired_state"]["products"]["atlas"]["presence"] == {
        "value": "activated",
        "revision": 5,
    }


def test_what_waits_for_one_tenant_is_bounded_and_the_rest_quarantined(tenantry: Running) -> None:
    tenant = new_tenant()
    events = [suspended(tenant, "atlas", revision=revision) for revision in range(1, 1003)]
    tenantry.send(*events)
    tenantry.until_taken_in(*events)
    assert tenantry.one("SELECT count(*) FROM waiting WHERE tenant_id = %s", tenant) == 1000
    assert [outcome(tenantry, each) for each in events[-3:]] == ["waiting", "quarantined", "quarantined"]
    first = created(tenant, revision=1)
    tenantry.send(first)
    tenantry.until_taken_in(first)
    assert tenantry.one("SELECT count(*) FROM waiting WHERE tenant_id = %s", tenant) == 0
    assert tenantry.show(tenant)["desired_state"]["products"]["atlas"]["access"] == {
        "value": "suspended",
        "revision": 1000,
    }
    for entry in [each for each in tenantry.json("quarantine", "list") if each["tenant_id"] == tenant]:
        assert entry["rule"] == "waiting-room-full"
        assert tenantry.json("quarantine", "retry", entry["number"])["outcome"] == "recorded"
    assert tenantry.show(tenant)["desired_state"]["products"]["atlas"]["access"]["revision"] == 1002


def test_a_destroyed_tenant_is_kept_up_to_date_and_not_acted_upon(tenantry: Running) -> None:
    tenant = new_tenant()
    after = activated(tenant, "compass", revision=2)
    tenantry.send(created(tenant, "atlas", revision=1))
    tenantry.until_level(tenant, "atlas", "open")
    tenantry.send(destroyed(tenant, revision=3), after)
    tenantry.until_taken_in(after)
    tenantry.until_level(tenant, "atlas", "closed")
    assert outcome(tenantry, after) == "recorded"
    told = tenantry.show(tenant)
    assert told["desired_state"]["tenant"]["destroyed"] is True
    assert told["desired_state"]["products"]["compass"]["presence"]["revision"] == 2
    assert told["desired_state"]["products"]["compass"]["desired"] == "closed"
    assert told["actual"]["products"]["compass"]["level"] != "open"


def test_retry_goes_through_the_front_door_and_discard_keeps_the_message(tenantry: Running) -> None:
    tenant = new_tenant()
    early = suspended(tenant, "atlas")
    tenantry.send(created(tenant), early)
    tenantry.until_taken_in(early)
    number = newest(tenantry)["number"]

    again = tenantry.cli("quarantine", "retry", number, "--json")
    assert (again.exit_code, again.value["outcome"]) == (1, "quarantined"), "it is refused as before"
    number = newest(tenantry)["number"]
    tenantry.send(activated(tenant, "atlas"))
    tenantry.until_level(tenant, "atlas", "open")
    assert tenantry.json("quarantine", "retry", number) == {"number": number, "outcome": "recorded"}
    tenantry.until_level(tenant, "atlas", "closed")
    twice = tenantry.cli("quarantine", "retry", number)
    assert twice.exit_code == 2
    assert "is retried already" in twice.error

    tenantry.send(Raw(LIFECYCLE, tenant.encode(), uuid4().hex.encode()))
    bad = wait_for(lambda: (entry := newest(tenantry))["number"] > number and entry, "the bad message")
    assert tenantry.json("quarantine", "discard", bad["number"], "--reason", "noise")["outcome"] == "discarded"
    assert bad["number"] not in [each["number"] for each in tenantry.json("quarantine", "list")]
    assert bad["number"] in [each["number"] for each in tenantry.json("quarantine", "list", "--state", "discarded")]
    (kept,) = tenantry.rows("SELECT closed_by, closed_reason FROM quarantine WHERE number = %s", bad["number"])
    assert kept["closed_by"].startswith(getpass.getuser())
    assert kept["closed_reason"] == "noise"


def test_a_product_that_the_catalogue_got_meanwhile_is_taken_in_by_retry(tenantry: Running, tmp_path: Path) -> None:
    tenant = new_tenant()
    unknown = activated(tenant, "sheets")
    tenantry.send(created(tenant), unknown)
    tenantry.until_taken_in(unknown)
    entry = newest(tenantry)
    assert entry["rule"] == "unknown-product"
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(
        (Path(__file__).parent.parent.parent / "domain" / "catalog.toml").read_text()
        + '\n[products.sheets]\nname = "Sheets"\nfamily = "sheets"\n[products.sheets.editions]\nfree = ["cells"]\n'
    )
    ours = {"TENANTRY_CATALOG_FILE": str(catalog)}
    adopted = tenantry.json("config", "adopt", "--reason", "sheets are sold now", env=ours)
    assert "catalog.products.sheets.family" in adopted["changes"]
    assert tenantry.json("quarantine", "retry", entry["number"])["outcome"] == "recorded"
    assert outcome(tenantry, unknown) == "recorded"
    tenantry.until_level(tenant, "sheets", "open")  # the workers were not started again
    tenantry.send(activated(tenant, "atlas"))
    tenantry.until_level(tenant, "atlas", "open")


def newest(tenantry: Running) -> dict[str, Any]:
    entries: list[dict[str, Any]] = tenantry.json("quarantine", "list", "--limit", 100_000)
    return max(entries, key=lambda entry: int(entry["number"]))


def outcome(tenantry: Running, sent: Event) -> str:
    return str(tenantry.one("SELECT outcome FROM incoming WHERE source = %s AND id = %s", sent.source, sent.id))
