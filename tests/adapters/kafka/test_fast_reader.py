"""Does the fast reader answer what the slow one does, whatever comes?"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from adapters.kafka import cloudevents_reader, fast_reader
from adapters.kafka.cloudevents_writer import to_binary, to_structured
from adapters.kafka.preserved_messages import Preserved
from domain.commands import COMMANDS
from tests.adapters.kafka.test_cloudevents_reader import ACTIVATED, DATA, EVENT, STRUCTURED, TIME, message, structured

MUTANTS: Final = 100_000
USUAL_AT_LEAST: Final = 0.2
"""The share of mutants that the fast reader must read itself: else the test would compare the slow one with itself."""

TOKENS: Final = (
    *(b'"', b"\\", b'\\"', b"\\u0000", b"\\u0041", b"\\ud800", b"\0", b"\x1f", b"\x7f", b"\xff", b"\xed\xa0\x80"),
    *("é".encode(), "\uffff".encode(), "\u2028".encode(), "\U0001f680".encode(), b"\xef\xbb\xbf", b" ", b"\n", b"\t"),
    *(
        b",",
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b"[]",
        b"{}",
        b'""',
        b"null",
        b"true",
        b"NaN",
        b"Infinity",
        b"-0",
        b"0",
        b"1",
    ),
    *(b"1.0", b"1e2", b"1E400", b"-0.0", b"2147483648", b"18446744073709551616", b"9" * 400, b"01", b"0.1", b"1"),
    *(b"Z", b"+01:00", b"60", b"0000-00-00T00:00:00Z", b"9999-12-31T23:59:59-23:59", b"1767225600", b"application/xml"),
    *(b'"users":3,', b'"data":{},', b'"id":"e-2",', b'"region":"eu",', b'"revision":8,', b'"time":null,', b'"x":"y",'),
    *(b"[" * 70, b"a" * 600, b"a" * 1100, b'{"a":' * 66, b'"contacts":[{"a":1e2}],', b'"data_base64":"e30=",'),
)
VALUES: Final[tuple[Any, ...]] = (
    *("", "a", "a" * 65, "eu", "free", "é", 'a"b', "\\", "\0", "\x7f", "active", "pinned", "1.0", "ada@example.org"),
    *(0, 1, -1, 2**31, 2**31 - 1, 2**63, 10**20, 1.0, 1.5, 1e16, 5e-324, True, False, None, [], {}, [[]], {"a": 1}),
    *("2027-01-01T00:00:00Z", "2027-02-30T00:00:00Z", "2027-01-01T00:00:00.123456789+01:00", "1767225600", ACTIVATED),
    *(["a"], ["a", {"b": "c"}], [{"b": 1}], [{"b": {"c": "d"}}], [{"b": 0.5}], [{"b": ["c"]}], ["a"] * 101),
)
POINTED: Final[dict[str, tuple[Any, ...]]] = {
    "contacts": ([{"b": 1e16}], [{"b": 10**20}], [{"b": 5e-324}], [{"b": {"c": 1e22}}], [{"b": "c"}], ["a"] * 100),
    "expires_at": ("1767225600", "2027-01-01", "2027-01-01 00:00:00Z", "2027-01-01T00:00Z", "2027-01-01T00:00:00.5Z"),
    "users": (10**20, 1.0, -0.0, True, 0, 10**9, 1e3),
    "name": ("\0", "\ud800", 'a"b', "a\\b", "\u2028", "\x7f", "a"),
    "reason": ("\0", 'a"b', "a\n", "a"),
}
"""Where the readers could differ: values of fields that pydantic or orjson takes in another way than we do."""

HEADERS: Final = (
    *(STRUCTURED * 2, (), (("content-type", b"application/cloudevents+json; charset=utf-8"),), (("ce_id", b"e-9"),)),
    *((*STRUCTURED, ("ce_id", b"e-9")), (*STRUCTURED, ("traceparent", b"00-1")), (*STRUCTURED, ("CE_id", b"\xff"))),
    *((("Content-Type", b"application/cloudevents+json"),), (("content-type", b"application/json"),)),
    *((("content-type", b"application/cloudevents-batch+json"),), (*STRUCTURED, ("Content-Type", b"text/plain"))),
)


def good() -> list[Preserved]:
    """Each type in both modes, with and without what may be left out."""
    found = []
    for type_, whole in DATA.items():
        for data in (whole, {**whole, "contacts": ["a", {"b": "c"}]} if "contacts" in whole else whole):
            for write, revision in ((to_structured, 7), (to_structured, 7), (to_structured, None), (to_binary, 7)):
                headers, value = write(type_, data, source="//commerce", id="e-1", time=TIME, revision=revision)
                found.append(message(value, headers))
    return [*found, structured(), structured(time=...), structured(subject="s", datacontenttype="application/json")]


def mutants(count: int, seed: int) -> Iterator[Preserved]:
    dice = random.Random(seed)  # noqa: S311 - the same ones each time
    originals = good()
    for _ in range(count):
        mutant = dice.choice(originals)
        for _ in range(dice.choice((0, 1, 1, 1, 2, 3))):
            mutant = dice.choice(DAMAGES)(dice, mutant)
        yield mutant


def _bytes(dice: random.Random, damaged: Preserved) -> Preserved:
    """A token put in, anywhere or at a border of JSON, or a few bytes taken out."""
    value = damaged.value or b""
    at = dice.randrange(len(value) + 1)
    if dice.random() < 0.6:
        at = value.find(dice.choice((b'"', b",", b":", b"{", b"}", b"[", b"]")), at)
    end = at + dice.choice((0, 0, 0, 1, 2, 5))
    return message(value[:at] + dice.choice(TOKENS) + value[end:], damaged.headers)


def _json(dice: random.Random, damaged: Preserved) -> Preserved:
    """A member of some object with another value, left out, renamed or added; written in one of several ways."""
    try:
        event = json.loads(damaged.value or b"")
    except ValueError:
        return damaged
    node = event
    while isinstance(node, (dict, list)) and node and dice.random() < 0.6:
        below = [each for each in (node.values() if isinstance(node, dict) else node) if isinstance(each, (dict, list))]
        node = dice.choice(below) if below else node
    if isinstance(node, dict) and node:
        name = dice.choice(list(node))
        value = node.pop(name) if dice.random() < 0.4 else dice.choice(VALUES)
        node[dice.choice([name, name, name, *EVENT, *ACTIVATED])] = value
    elif isinstance(node, list):
        node.append(dice.choice(VALUES))
    return message(json.dumps(event, ensure_ascii=dice.random() < 0.2).encode("utf-8", "replace"), damaged.headers)


def _pointed(dice: random.Random, damaged: Preserved) -> Preserved:
    """A field of the data with a value that is hard for it."""
    try:
        event = json.loads(damaged.value or b"")
        data = event.get("data", event)
        name = dice.choice(sorted(data.keys() & POINTED.keys()))
    except (ValueError, LookupError, AttributeError):
        return damaged
    data[name] = dice.choice(POINTED[name])
    return message(json.dumps(event, ensure_ascii=dice.random() < 0.5).encode("utf-8", "replace"), damaged.headers)


def _key_twice(dice: random.Random, damaged: Preserved) -> Preserved:
    """A part of the value stands there twice, mostly a member of an object."""
    value = damaged.value or b""
    at = value.find(b",", dice.randrange(len(value) + 1))
    end = value.find(b",", at + 1)
    return message(value[:end] + value[at:end] + value[end:], damaged.headers) if 0 < at < end else damaged


def _other_headers(dice: random.Random, damaged: Preserved) -> Preserved:
    return message(damaged.value, dice.choice(HEADERS))


def _rewritten(dice: random.Random, damaged: Preserved) -> Preserved:
    """The same JSON in another order, with other spaces, without escapes."""
    try:
        event = _shuffled(dice, json.loads(damaged.value or b""))
    except ValueError:
        return damaged
    separators = dice.choice([(",", ":"), (" , ", "\t:\n"), (", ", ": ")])
    value = json.dumps(event, ensure_ascii=False, separators=separators).encode("utf-8", "replace")
    return message(value, damaged.headers)


def _shuffled(dice: random.Random, node: Any) -> Any:
    if isinstance(node, list):
        return [_shuffled(dice, each) for each in node]
    if not isinstance(node, dict):
        return node
    return {name: _shuffled(dice, node[name]) for name in dice.sample(list(node), len(node))}


DAMAGES: Final[tuple[Callable[[random.Random, Preserved], Preserved], ...]] = (
    *(_bytes, _bytes, _json, _json, _key_twice, _other_headers, _rewritten, _rewritten, _pointed),
)


@pytest.mark.endurance
@pytest.mark.timeout(300)
def test_both_readers_answer_the_same_about_100_000_damaged_messages() -> None:
    usual = 0
    for mutant in mutants(MUTANTS, seed=1):
        fast = fast_reader.usual(mutant)
        if fast is not None:
            usual += 1
            slow = cloudevents_reader.read(mutant)
            assert fast == slow, mutant
            assert isinstance(slow, cloudevents_reader.InboundMessage)
            assert repr(fast.command) == repr(slow.command), mutant  # 1 and True are equal, and not the same
            assert fast.digest == slow.digest
    assert usual > MUTANTS * USUAL_AT_LEAST


def test_what_the_fast_reader_leaves_is_read_by_the_slow_one() -> None:
    for mutant in mutants(2_000, seed=2):
        assert fast_reader.read(mutant) == cloudevents_reader.read(mutant), mutant


@pytest.mark.parametrize("type_", COMMANDS)
def test_a_message_as_we_write_it_is_read_fast(type_: str) -> None:
    data = {**DATA[type_], "name": "Acme", "contacts": ["a"]} if "contacts" in DATA[type_] else DATA[type_]
    headers, value = to_structured(type_, data, source="//commerce", id="e-1", time=TIME, revision=7)
    assert fast_reader.usual(message(value, headers)) is not None


@pytest.mark.parametrize(
    "value",
    [
        b'{"specversion": "1.0", ' + json.dumps(EVENT).encode()[1:],
        json.dumps(EVENT).encode().replace(b'"users": 25', b'"users": 24, "users": 25'),
        json.dumps(EVENT).encode().replace(b"jira-software", rb"\u006aira-software"),
        json.dumps({**EVENT, "region": "eu"}).encode(),
        json.dumps({**EVENT, "data": {**ACTIVATED, "users": 10**20}}).encode(),
        json.dumps({**EVENT, "type": "commerce.customer.updated", "data": DATA["commerce.customer.updated"]}).encode(),
    ],
    ids=["attribute twice", "field twice", "escape", "extension", "large integer", "float in open JSON"],
)
def test_what_orjson_forgives_is_left_to_the_slow_reader(value: bytes) -> None:
    assert fast_reader.usual(message(value)) is None
