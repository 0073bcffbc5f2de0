"""Does every message become either the command it says, or one refusal that says why?"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.kafka.cloudevents_reader import InboundMessage, UnreadableMessage, read
from adapters.kafka.cloudevents_writer import to_binary, to_structured
from adapters.kafka.preserved_messages import Headers, Preserved, preserve, restore
from adapters.kafka.strict_json import MAX_BYTES
from domain.commands import COMMANDS, ActivateProduct
from domain.errors import TenantryError

STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)
TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)
PERSON = {"account_id": "a-1", "name": "Ada Example", "email": "ada@example.org"}
ACTIVATED: dict[str, Any] = {
    "tenant_id": "t-1",
    "product": "jira-software",
    "edition": "premium",
    "users": 25,
    "expires_at": "2027-01-01T00:00:00Z",
}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "//commerce",
    "type": "product.activated",
    "time": "2026-01-31T12:00:00Z",
    "revision": 7,
    "data": ACTIVATED,
}
CREATED: dict[str, Any] = {
    "tenant_id": "t-1",
    "customer_id": "c-1",
    "site_name": "acme",
    "residency": "pinned",
    "region": "eu",
    "administrator": PERSON,
    "products": [{"product": "confluence", "edition": "free", "users": 3, "revision": 1}],
}
REASONED = {"tenant_id": "t-1", "product": "compass", "reason": "abuse"}
DATA: dict[str, dict[str, Any]] = {
    "commerce.customer.updated": {
        "customer_id": "c-1",
        "name": "Acmé",
        "country": "DE",
        "contacts": ["billing@example.org", {"phone": "\N{TELEPHONE RECEIVER} 1", "weight": 0.5}],
        "administrators": [{**PERSON, "roles": ["billing"]}],
    },
    "tenant.created": CREATED,
    "tenant.destroyed": {"tenant_id": "t-1", "reason": "left"},
    "product.activated": ACTIVATED,
    "product.deactivated": REASONED,
    "product.suspended": REASONED,
    "product.unsuspended": {"tenant_id": "t-1", "product": "compass"},
    "license.updated": {**ACTIVATED, "status": "inactive"},
}


def message(value: bytes | None, headers: Headers = STRUCTURED) -> Preserved:
    return Preserved(key=b"t-1", value=value, headers=headers)


def structured(**changes: Any) -> Preserved:
    """EVENT in structured mode with other attributes; `...` leaves one out."""
    event = {name: value for name, value in {**EVENT, **changes}.items() if value is not ...}
    return message(json.dumps(event).encode())


def activated(**changes: Any) -> Preserved:
    return structured(data={name: v for name, v in {**ACTIVATED, **changes}.items() if v is not ...})


def binary(headers: Mapping[str, bytes] = {}, value: bytes | None = None) -> Preserved:
    given = {f"ce_{name}": str(EVENT[name]).encode() for name in EVENT if name != "data"}
    return message(json.dumps(ACTIVATED).encode() if value is None else value, tuple({**given, **headers}.items()))


def understood(incoming: Preserved) -> InboundMessage:
    said = read(incoming)
    assert isinstance(said, InboundMessage), said
    return said


def refused(incoming: Preserved) -> UnreadableMessage:
    said = read(incoming)
    assert isinstance(said, UnreadableMessage), said
    return said


# -- what is read


@pytest.mark.parametrize("type_", COMMANDS)
@pytest.mark.parametrize("revision", [None, 0, 2**31 - 1])
def test_what_we_write_reads_the_same_in_both_modes(type_: str, revision: int | None) -> None:
    said = []
    for write in (to_structured, to_binary):
        headers, value = write(type_, DATA[type_], source="//commerce", id="e-1", time=TIME, revision=revision)
        said.append(understood(message(value, headers)))
    assert said[0] == said[1]
    assert (said[0].source, said[0].id, said[0].type, said[0].time) == ("//commerce", "e-1", type_, TIME)
    assert said[0].revision == revision
    assert type(said[0].command) is COMMANDS[type_]
    assert said[0].tenant_id == DATA[type_].get("tenant_id")
    assert said[0].customer_id == DATA[type_].get("customer_id")


def test_header_names_are_taken_in_any_case_and_without_a_content_type() -> None:
    plain = binary()
    shouted = message(plain.value, tuple((name.upper(), value) for name, value in plain.headers))
    assert understood(plain) == understood(shouted) == understood(binary({"Content-Type": b"application/json"}))


def test_a_bare_structured_event_is_read_without_headers() -> None:
    assert understood(message(structured().value, ())) == understood(structured())


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents+json; charset=UTF-8", "Application/CloudEvents+JSON"]
)
def test_a_content_type_may_have_a_charset_and_any_case(content_type: str) -> None:
    said = read(message(structured().value, (("Content-Type", content_type.encode()),)))
    assert said == read(structured())


def test_ce_headers_beside_a_structured_event_do_not_count() -> None:
    headers = (*STRUCTURED, ("ce_id", b"another"), ("ce_type", b"another"))
    assert understood(message(structured().value, headers)).id == "e-1"


def test_other_extensions_are_allowed_and_change_nothing() -> None:
    extended = structured(traceparent="00-ab-cd-01", partitionkey="t-1", sampled=True, hops=3, subject=None)
    assert understood(extended) == understood(structured())
    assert understood(binary({"ce_traceparent": b"00-ab-cd-01"})) == understood(binary())


def test_null_is_the_same_as_missing() -> None:
    said = understood(structured(time=None, revision=None))
    assert (said.time, said.revision) == (None, None)
    assert said == understood(structured(time=..., revision=...))


def test_times_are_read_in_utc_whatever_their_zone() -> None:
    said = understood(structured(time="2026-01-31T13:30:00.5+01:30"))
    assert said.time == datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)
    assert said.time.utcoffset() == UTC.utcoffset(None)


def test_the_data_becomes_the_command() -> None:
    assert understood(structured()).command == ActivateProduct(
        tenant_id="t-1",
        product="jira-software",
        edition="premium",
        users=25,
        expires_at=datetime(2027, 1, 1, tzinfo=UTC),
    )


# -- digests


def test_the_digest_does_not_see_mode_whitespace_order_and_escapes() -> None:
    backwards = dict(reversed(EVENT.items()))
    backwards["data"] = dict(reversed(ACTIVATED.items()))
    spaced = message(json.dumps(backwards, indent=3).encode())
    escaped = message(json.dumps(EVENT).replace("premium", "pr\\u0065mium").encode())
    zoned = structured(time="2026-01-31T13:00:00+01:00")
    assert {understood(m).digest for m in (structured(), binary(), spaced, escaped, zoned)} == {
        understood(structured()).digest
    }


@pytest.mark.parametrize(
    "changed",
    [
        structured(id="e-2"),
        structured(source="//trial"),
        structured(type="license.updated", data={**ACTIVATED, "status": "active"}),
        structured(time="2026-01-31T12:00:01Z"),
        structured(time=None),
        structured(revision=8),
        structured(revision=None),
        activated(users=26),
        activated(expires_at=None),
    ],
)
def test_the_digest_sees_every_other_change(changed: Preserved) -> None:
    assert understood(changed).digest != understood(structured()).digest


def test_an_attribute_cannot_pose_as_two() -> None:
    one = understood(structured(source="a", id="bc")).digest
    assert one != understood(structured(source="ab", id="c")).digest


# -- what is refused

LONG_INTEGER = b'{"specversion":"1.0","hops":' + b"9" * 5000 + b"}"
BAD: dict[str, tuple[Preserved, str]] = {
    "no value": (message(None), "empty"),
    "an empty value": (message(b""), "empty"),
    "no value in binary mode": (binary(value=b""), "empty"),
    "more than 1 MiB": (message(b" " * MAX_BYTES + b"{}"), "too-large"),
    "a list of 1001": (structured(data=[1] * 1001), "too-large"),
    "an object of 1001": (activated(**{f"x{number}": 1 for number in range(1001)}), "too-large"),
    "batched mode": (
        message(b"[]", (("content-type", b"application/cloudevents-batch+json"),)),
        "unsupported-mode",
    ),
    "avro": (message(b"x", (("content-type", b"application/cloudevents+avro"),)), "unsupported-mode"),
    "plain JSON with a content type": (
        message(structured().value, (("content-type", b"application/json"),)),
        "not-cloudevent",
    ),
    "plain JSON without headers": (message(b'{"hello": "world"}', ()), "not-cloudevent"),
    "an array": (message(b"[1]"), "not-cloudevent"),
    "a bare number": (message(b"7", ()), "not-cloudevent"),
    "text": (message(b"hello", ()), "not-json"),
    "two documents": (message(b"{}{}"), "not-json"),
    "a cut document": (message((structured().value or b"")[:-1]), "not-json"),
    "Latin-1": (message('{"a":"é"}'.encode("latin-1")), "not-json"),
    "UTF-16": (message(json.dumps(EVENT).encode("utf-16")), "not-json"),
    "a byte order mark": (message(b"\xef\xbb\xbf" + (structured().value or b"")), "not-json"),
    "another charset": (
        message(b"{}", (("content-type", b"application/cloudevents+json;charset=latin1"),)),
        "not-json",
    ),
    "a duplicate attribute": (message(json.dumps(EVENT)[:-1].encode() + b',"id":"e-1"}'), "not-json"),
    "a duplicate key in data": (
        binary(value=json.dumps(ACTIVATED)[:-1].encode() + b',"users":25}'),
        "not-json",
    ),
    "NaN": (activated(users=float("nan")), "not-json"),
    "Infinity": (activated(users=float("-inf")), "not-json"),
    "a number beyond a double": (message(b'{"specversion":"1.0","hops":1e999}'), "not-json"),
    "an integer of 5000 digits": (message(LONG_INTEGER), "not-json"),
    "a tower of arrays": (message(b"[" * 500_000 + b"]" * 500_000), "not-json"),
    "a tower that only opens": (message(b'{"a":' * 200_000), "not-json"),
    "100 levels": (structured(data=json.loads("[" * 100 + "]" * 100)), "not-json"),
    "NUL in data": (activated(edition="a\0b"), "not-json"),
    "NUL in a key": (activated(**{"a\0b": 1}), "not-json"),
    "half a surrogate pair": (activated(edition="\ud800"), "not-json"),
    "a raw surrogate": (message(b'{"a":"\xed\xa0\x80"}'), "not-json"),
    "no specversion": (structured(specversion=...), "not-cloudevent"),
    "specversion 0.3": (structured(specversion="0.3"), "not-cloudevent"),
    "a numeric specversion": (structured(specversion=1), "not-cloudevent"),
    "no id": (structured(id=...), "bad-attribute"),
    "no id in binary mode": (message(b"{}", (("ce_specversion", b"1.0"),)), "bad-attribute"),
    "an empty id": (structured(id=""), "bad-attribute"),
    "a null id": (structured(id=None), "bad-attribute"),
    "a numeric id": (structured(id=5), "bad-attribute"),
    "a long id": (structured(id="é" * 257), "bad-attribute"),
    "an id with a line break": (structured(id="a\nb"), "bad-attribute"),
    "an escape sequence": (binary({"ce_id": b"\x1b[2J"}), "bad-attribute"),
    "no source": (structured(source=...), "bad-attribute"),
    "a long source": (structured(source="s" * 1025), "bad-attribute"),
    "no type": (structured(type=...), "bad-attribute"),
    "a header that is not UTF-8": (binary({"ce_id": b"\xff"}), "bad-attribute"),
    "a header twice": (message(b"{}", (("ce_id", b"1"), ("CE_ID", b"2"))), "bad-attribute"),
    "a float extension": (structured(ratio=0.5), "bad-attribute"),
    "an object extension": (structured(trace={"a": 1}), "bad-attribute"),
    "an array extension": (structured(trace=[]), "bad-attribute"),
    "a 64-bit extension": (structured(hops=2**31), "bad-attribute"),
    "an upper-case name": (structured(traceParent="x"), "bad-attribute"),
    "a name with an underscore": (binary({"ce_trace_id": b"x"}), "bad-attribute"),
    "a name of nothing": (binary({"ce_": b"x"}), "bad-attribute"),
    "data as a header": (binary({"ce_data": b"x"}), "bad-attribute"),
    "a text revision": (structured(revision="7"), "bad-attribute"),
    "a boolean revision": (structured(revision=True), "bad-attribute"),
    "a float revision": (structured(revision=7.0), "bad-attribute"),
    "a negative revision": (structured(revision=-1), "bad-attribute"),
    "a large revision": (structured(revision=2**31), "bad-attribute"),
    "a large binary revision": (binary({"ce_revision": b"2147483648"}), "bad-attribute"),
    "a padded binary revision": (binary({"ce_revision": b"07"}), "bad-attribute"),
    "a signed binary revision": (binary({"ce_revision": b"+7"}), "bad-attribute"),
    "an Arabic revision": (binary({"ce_revision": "\N{ARABIC-INDIC DIGIT SEVEN}".encode()}), "bad-attribute"),
    "an empty binary revision": (binary({"ce_revision": b""}), "bad-attribute"),
    "a time without a zone": (structured(time="2026-01-31T12:00:00"), "bad-attribute"),
    "a date": (structured(time="2026-01-31"), "bad-attribute"),
    "a numeric time": (structured(time=1767225600), "bad-attribute"),
    "the 30th of February": (structured(time="2026-02-30T12:00:00Z"), "bad-attribute"),
    "an empty time": (binary({"ce_time": b""}), "bad-attribute"),
    "an unknown type": (structured(type="product.activate"), "unknown-type"),
    "XML data": (structured(datacontenttype="application/xml"), "bad-data"),
    "XML data in binary mode": (binary({"content-type": b"text/xml"}), "bad-data"),
    "data_base64": (structured(data=..., data_base64="e30="), "bad-data"),
    "data twice": (structured(data_base64="e30="), "bad-data"),
    "no data": (structured(data=...), "bad-data"),
    "text for data": (structured(data=json.dumps(ACTIVATED)), "bad-data"),
    "an array in binary mode": (binary(value=b"[]"), "bad-data"),
    "a missing field": (activated(users=...), "bad-data"),
    "an unknown field": (activated(expire_at="2027-01-01T00:00:00Z"), "bad-data"),
    "text for a number": (activated(users="25"), "bad-data"),
    "a float for an integer": (activated(users=25.0), "bad-data"),
    "a boolean for an integer": (activated(users=True), "bad-data"),
    "a number for a text": (activated(edition=5), "bad-data"),
    "an expiry without a zone": (activated(expires_at="2027-01-01T00:00:00"), "bad-data"),
    "an expiry in seconds": (activated(expires_at=1798761600), "bad-data"),
    "an expiry in seconds as text": (activated(expires_at="1798761600"), "bad-data"),
    "a bad expiry in products": (
        structured(
            type="tenant.created",
            data={**CREATED, "products": [{**CREATED["products"][0], "expires_at": "1798761600"}]},
        ),
        "bad-data",
    ),
    "a tenant id with a slash": (activated(tenant_id="t/1"), "bad-data"),
    "a pin without a region": (activated(residency="pinned"), "bad-data"),
}


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("2016-12-31T23:59:60Z", "is a leap second"),
        ("2016-12-31t23:59:60.5+00:00", "is a leap second"),
        ("2026-01-31T12:00:00.1234567890Z", "has more than 9 digits of a second's fraction"),
        ("2026-02-30T12:00:00Z", "is no time of the calendar"),
        ("2026-01-31 12:00", "is not RFC 3339 with a zone"),
    ],
)
def test_a_time_that_cannot_be_kept_is_told_as_what_it_is(time: str, said: str) -> None:
    products = [{**CREATED["products"][0], "expires_at": time}]
    for incoming in (
        structured(time=time),
        activated(expires_at=time),
        structured(type="tenant.created", data={**CREATED, "products": products}),
    ):
        refused = read(incoming)
        assert isinstance(refused, UnreadableMessage)
        assert said in refused.explanation
        assert time not in refused.explanation


def test_nine_digits_of_a_fraction_are_read() -> None:
    assert isinstance(read(structured(time="2026-01-31T12:00:00.123456789Z")), InboundMessage)


@pytest.mark.parametrize(("incoming", "rule"), BAD.values(), ids=BAD)
def test_what_is_not_good_is_refused_with_its_rule_and_kept_whole(incoming: Preserved, rule: str) -> None:
    said = refused(incoming)
    assert said.rule == rule, said
    assert "\n" not in said.explanation
    assert ": " in said.explanation, "what is wrong, and what to do"
    assert restore(said.body) == incoming
    assert read(restore(said.body)) == said


def test_a_message_of_exactly_1_mib_is_not_too_large() -> None:
    value = (structured().value or b"").ljust(MAX_BYTES)
    assert understood(message(value)) == understood(structured())


def test_an_unreadable_message_is_named_as_far_as_it_can_be() -> None:
    said = refused(structured(data={**CREATED, "site_name": "-"}, type="tenant.created"))
    assert (said.source, said.id, said.type) == ("//commerce", "e-1", "tenant.created")
    assert (said.tenant_id, said.customer_id) == ("t-1", "c-1")


def test_in_binary_mode_the_headers_name_what_the_value_does_not_say() -> None:
    said = refused(binary(value=b"{"))
    assert (said.source, said.id, said.type, said.tenant_id) == (
        "//commerce",
        "e-1",
        "product.activated",
        None,
    )


def test_names_that_cannot_be_stored_are_left_out() -> None:
    said = refused(structured(id="a\nb", source="s" * 2000, type=5, data={"tenant_id": "../x", "customer_id": 5}))
    assert (said.source, said.id, said.type, said.tenant_id, said.customer_id) == (None,) * 5


def test_an_unknown_type_is_told_the_nearest_and_all_others() -> None:
    explanation = refused(structured(type="product.activate")).explanation
    assert "did you mean product.activated?" in explanation
    assert all(type_ in explanation for type_ in COMMANDS)


def test_problems_are_told_with_their_place_and_the_first_three_only() -> None:
    said = refused(activated(users=-1, edition="", product="A", expires_at=..., region=5))
    assert said.explanation.count(";") == 3
    assert "data.region" in said.explanation
    assert said.explanation.endswith("and 1 more")


def test_a_message_of_nothing_but_problems_is_refused_in_no_time() -> None:
    started = time.process_time()
    wide = {f"x{number}": 1 for number in range(50)}
    hostile: list[list[Any]] = [[{}] * 300_000, [1] * 300_000, [wide] * 1000]
    for products in hostile:
        refused(structured(type="tenant.created", data={"products": products}))
    assert time.process_time() - started < 10, "without the limit it takes longer by far"


def test_a_mistyped_field_is_told_its_right_name() -> None:
    assert "did you mean expires_at?" in refused(activated(expire_at=None)).explanation


SECRETS = ["grace@example.net", "Grace Hopper"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda secret: {"administrator": secret},
        lambda secret: {"administrator": {**PERSON, secret: 1}},
        lambda secret: {"administrator": {**PERSON, "name": "", "email": f"{secret} {secret}"}},
        lambda secret: {"tenant_id": secret, "residency": secret, "region": secret},
        lambda secret: {"products": [{"product": secret, "users": secret, "expires_at": secret}]},
        lambda secret: {secret: secret},
    ],
)
def test_no_explanation_repeats_the_input(secret: str, spoil: Any) -> None:
    said = refused(structured(type="tenant.created", data={**CREATED, **spoil(secret)}))
    assert secret not in said.explanation
    assert said.explanation.isascii()


def test_no_explanation_of_an_attribute_repeats_its_value() -> None:
    for name in ("id", "source", "type", "time", "revision", "specversion", "datacontenttype"):
        said = read(structured(**{name: f"{SECRETS[0]}\n"}))
        assert isinstance(said, UnreadableMessage)
        assert SECRETS[0] not in said.explanation


# -- whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
ANY_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["ce_id", "ce_type", "ce_time", "ce_revision", "ce_specversion", "content-type", "x"])
        | st.text(max_size=10),
        st.sampled_from([b"1.0", b"application/cloudevents+json", b"application/json"]) | st.binary(max_size=20),
    ),
    max_size=5,
).map(tuple)


@settings(deadline=None)
@given(st.none() | st.binary(), ANY_HEADERS)
def test_any_bytes_are_read_or_refused_and_kept(value: bytes | None, headers: Headers) -> None:
    incoming = message(value, headers)
    said = read(incoming)
    kept = said.body if isinstance(said, UnreadableMessage) else preserve(incoming)
    assert restore(kept) == incoming
    assert read(restore(kept)) == said


@settings(deadline=None)
@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    encoded = json.dumps(value).encode()
    for incoming in (message(encoded), message(encoded, ()), binary(value=encoded)):
        assert isinstance(read(incoming), UnreadableMessage)


@settings(deadline=None)
@given(st.sampled_from([*EVENT, "hops", "data_base64"]), JSON)
def test_any_attribute_is_read_or_refused(name: str, value: Any) -> None:
    said = read(structured(**{name: value}))
    assert said.rule if isinstance(said, UnreadableMessage) else said.digest


@settings(deadline=None)
@given(st.sampled_from(sorted(COMMANDS)), st.data())
def test_any_field_is_read_or_refused(type_: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*DATA[type_], "else"]))
    said = read(structured(type=type_, data={**DATA[type_], name: data.draw(JSON)}))
    assert said.rule in {"bad-data", "not-json"} if isinstance(said, UnreadableMessage) else said.digest


# -- keeping a message whole


def test_a_good_message_is_kept_as_it_came_too() -> None:
    incoming = structured(traceparent="00-ab-cd-01")
    assert understood(incoming).tenant_id == "t-1"
    assert restore(preserve(incoming)) == incoming


def test_a_kept_message_can_be_read_by_people() -> None:
    assert "ada@example.org" in json.loads(preserve(structured(data=CREATED)))["value"]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"7", b'{"form":2}', b'{"form":1,"key":7,"headers":[],"value":null}']
)
def test_a_damaged_body_is_an_error_of_ours(body: bytes) -> None:
    with pytest.raises(TenantryError):
        restore(body)


# -- the ends of time


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("9999-12-31T23:59:59-12:00", datetime.max.replace(tzinfo=UTC)),
        ("0001-01-01T00:00:00+12:00", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_a_moment_that_lies_beyond_the_calendar_in_utc_is_its_last_or_its_first(said: str, read: datetime) -> None:
    assert understood(structured(time=said)).time == read
    command = understood(activated(expires_at=said)).command
    assert isinstance(command, ActivateProduct)
    assert command.expires_at == read


# -- the reference

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "wire.md"


def test_both_examples_of_the_reference_are_the_same_event() -> None:
    in_structured_mode, in_binary_mode = REFERENCE.read_text(encoding="utf-8").split("```")[1::2]
    attributes, data = in_binary_mode.strip().split("\n\n")
    pairs = [line.split(": ", 1) for line in attributes.splitlines()]
    headers = tuple((name, value.encode()) for name, value in pairs)
    one = understood(message(in_structured_mode.removeprefix("json").encode()))
    assert one == understood(message(data.encode(), headers))


@pytest.mark.parametrize("rule", sorted({rule for _, rule in BAD.values()}))
def test_every_rule_stands_in_the_reference(rule: str) -> None:
    assert f"| `{rule}` |" in REFERENCE.read_text(encoding="utf-8")
