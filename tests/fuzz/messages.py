"""What may a producer, or a broken one, or nobody at all put on Kafka?

Good events of a few tenants are told, and most of them are then damaged: in their bytes, their JSON, their times, their
headers or their key. The same seed tells the same messages.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.journeys.events import (
    LIFECYCLE,
    Event,
    Raw,
    activated,
    created,
    customer_updated,
    deactivated,
    destroyed,
    person,
    suspended,
    unsuspended,
)

PRODUCTS: Final = ("jira-software", "confluence", "compass", "atlas", "jira-service-management")
TYPES: Final = (
    "tenant.created",
    "tenant.destroyed",
    "product.activated",
    "product.deactivated",
    "product.suspended",
    "license.updated",
    "commerce.customer.updated",
    "tenant.exploded",
)
TIMES: Final = (
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999999-23:59",
    "0001-01-01T00:00:00+23:59",
    "0000-00-00T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2016-12-31T23:59:60Z",
    "2026-06-01T24:00:00Z",
    "2026-06-01t00:00:00.1234567890z",
    "2026-06-01T00:00:00",
    "1767225600",
    "+10000-01-01T00:00:00Z",
    "2026-06-01T00:00:00+99:99",
    "\u0662\u0660\u0662\u0666-06-01T00:00:00Z",
    "",
)
TEXTS: Final = (
    "",
    " ",
    "\0",
    "\x1b[2J\x1b]0;owned\x07",
    "\ud800",
    "\udfff\ud800",
    "\ufeff",
    "\uffff",
    "\u202eright to left",
    "e\u0301" * 30,
    "\U0001f469\u200d\U0001f680",
    "[/x]",
    ":bank:",
    "\\[bold]",
    "$(reboot)`id`",
    "'; DROP TABLE quarantine; --",
    "%s%n{0}{{}}",
    "a" * 300,
    "\n\r\t\x0b\x85\u2028",
    "NaN",
    "null",
)
NUMBERS: Final = (0, -1, -0.0, 1.5, 1e308, 2**31, 2**31 - 1, 2**63, -(2**63), 10**40, True, False, None)
CONTENT_TYPES: Final = (
    b"application/cloudevents+json",
    b"application/cloudevents+json; charset=utf-8",
    b"application/cloudevents+json; charset=utf-16",
    b"application/cloudevents-batch+json",
    b"application/cloudevents+avro",
    b"application/json",
    b"text/plain",
    b"\xff\xfe",
    b"",
    b";;;=;",
)

Damage = Callable[["Teller", Raw], Raw]


@dataclass
class Teller:
    """Tells messages; `seed` tells them again. Each generation of tenants gets as many messages as real tenants may."""

    seed: int
    tenants: int = 30
    generation: int = 10_000

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # noqa: S311 - told again by its seed
        self._names: list[str] = []
        self._revisions: dict[str, int] = {}
        self._nobody = ""
        self._earlier: list[Raw] = []

    def messages(self, count: int) -> Iterator[Raw]:
        """Of each generation the creation of its tenants first, then whatever comes."""
        for begun in range(0, count, self.generation):
            own = f"{self.seed}-{begun // self.generation}"
            self._names, self._nobody = [f"fuzz-{own}-{number}" for number in range(self.tenants)], f"nobody-{own}"
            self._revisions = dict.fromkeys(self._names, 0)
            some = min(self.generation, count - begun)
            for name in self._names[:some]:
                yield created(name, "jira-software", revision=1).raw()
            for _ in range(some - min(some, self.tenants)):
                yield self._next()

    def _next(self) -> Raw:
        if self._earlier and self.dice.random() < 0.04:
            return self.dice.choice(self._earlier)
        message = self._good()
        for _ in range(self.dice.choice((0, 1, 1, 1, 1, 2, 3))):
            message = self.dice.choice(DAMAGES)(self, message)
        if len(self._earlier) < 2_000:
            self._earlier.append(message)
        elif self.dice.random() < 0.01:
            self._earlier[self.dice.randrange(len(self._earlier))] = message
        return message

    def _good(self) -> Raw:
        dice = self.dice
        name, product = dice.choice(self._names), dice.choice(PRODUCTS)
        self._revisions[name] += 1
        revision = self._revisions[name] if dice.random() < 0.8 else None
        event: Event
        match dice.randrange(12):
            case 0 | 1 | 2 | 3:
                event = activated(name, product, revision=revision, expires_at=dice.choice((None, *TIMES[:2])))
            case 4 | 5:
                event = suspended(name, product, revision=revision)
            case 6 | 7:
                event = unsuspended(name, product, revision=revision)
            case 8:
                event = deactivated(name, product, revision=revision)
            case 9:
                event = customer_updated(f"customer-of-{name}", person("ada"), revision=revision)
            case 10:
                event = suspended(f"{self._nobody}-{dice.randrange(500)}", product, revision=revision)
            case _:
                event = created(name, revision=1) if dice.random() < 0.2 else suspended(name, product)
        if dice.random() < 0.001:
            event = destroyed(name, revision=revision)
        ahead = timedelta(days=dice.choice((0, 0, 0, -400, 2, 4000)))
        event = replace(
            event,
            id=f"{dice.getrandbits(48):x}" if dice.random() < 0.98 else f"{dice.randrange(50)}",
            mode=dice.choice(("structured", "binary")),
            time=datetime(2026, 6, 1, tzinfo=UTC) + ahead,
        )
        return event.raw()

    def text(self) -> str:
        """Any text, of any characters."""
        if self.dice.random() < 0.6:
            return self.dice.choice(TEXTS)
        return "".join(chr(self.dice.randrange(0x110000)) for _ in range(self.dice.randrange(12)))

    def value(self, depth: int = 0) -> Any:
        """Any JSON, and what only Python takes for JSON."""
        match self.dice.randrange(9):
            case 0 | 1:
                return self.dice.choice(NUMBERS)
            case 2 | 3 | 4:
                return self.text()
            case 5:
                return self.dice.choice(TIMES)
            case 6:
                return self.dice.choice((float("nan"), float("inf"), [], {}, [[]] * 3))
            case 7 if depth < 3:
                return [self.value(depth + 1) for _ in range(self.dice.randrange(4))]
            case 8 if depth < 3:
                return {self.text(): self.value(depth + 1) for _ in range(self.dice.randrange(4))}
            case _:
                return self.dice.choice(TYPES)


# -- damages ---------------------------------------------------------------------------------------------------------


def _other_bytes(teller: Teller, message: Raw) -> Raw:
    dice, value = teller.dice, bytearray(message.value or b"")
    for _ in range(dice.choice((1, 1, 2, 8))):
        at = dice.randrange(len(value) + 1)
        match dice.randrange(4):
            case 0 if value:
                value[at % len(value)] ^= 1 << dice.randrange(8)
            case 1:
                value[at:at] = dice.randbytes(dice.randrange(1, 6))
            case 2:
                del value[at : at + dice.randrange(1, 20)]
            case _:
                value[at:at] = value[: dice.randrange(1, 40)]
    return replace(message, value=bytes(value))


def _noise(teller: Teller, message: Raw) -> Raw:
    dice = teller.dice
    sizes = (0, 1, 3, 30, 300)
    some = (
        None,
        dice.randbytes(dice.choice(sizes)),
        b"[" * dice.choice((10, 5_000)),
        b'{"a":' * dice.choice((10, 3_000)),
        b"\xef\xbb\xbf" + (message.value or b""),
        (message.value or b"").decode("latin-1").encode("utf-16"),
        b"0" * 30 if dice.random() < 0.999 else b" " * (2**20 + 1),
        b"9" * 5_000,
        b'"\\ud800"',
    )
    return replace(message, value=dice.choice(some))


def _other_json(teller: Teller, message: Raw) -> Raw:
    try:
        content = json.loads(message.value or b"")
    except (ValueError, RecursionError):
        return _noise(teller, message)
    dice, node = teller.dice, content
    for _ in range(dice.randrange(4)):
        inner = [each for each in _members(node) if isinstance(each, dict | list) and each]
        if not inner:
            break
        node = dice.choice(inner)
    match node:
        case dict():
            key = dice.choice([*node, teller.text()])
            if dice.random() < 0.3:
                node.pop(key, None)
            else:
                node[key] = teller.value()
        case list():
            node.insert(dice.randrange(len(node) + 1), teller.value())
        case _:
            content = teller.value()
    written = json.dumps(content, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    if dice.random() < 0.05:
        written = written.replace(b"{", b'{"id":"twice",', 1)
    return replace(message, value=written)


def _members(node: Any) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []


def _other_time(teller: Teller, message: Raw) -> Raw:
    time = teller.dice.choice(TIMES)
    headers = tuple((name, time.encode() if name == "ce_time" else value) for name, value in message.headers)
    value = (message.value or b"").replace(b"2026-06-01T00:00:00+00:00", time.encode())
    return replace(message, headers=headers, value=value.replace(b"2026-06-01T00:00:00Z", time.encode()))


def _other_headers(teller: Teller, message: Raw) -> Raw:
    dice, headers = teller.dice, list(message.headers)
    for _ in range(dice.choice((1, 1, 2, 40))):
        match dice.randrange(5):
            case 0 if headers:
                headers.pop(dice.randrange(len(headers)))
            case 1 if headers:
                headers.append(dice.choice(headers))
            case 2:
                headers.append(("content-type", dice.choice(CONTENT_TYPES)))
            case 3 if headers:
                at = dice.randrange(len(headers))
                headers[at] = (
                    headers[at][0],
                    dice.choice((b"", b"\xff", dice.randbytes(9), teller.text().encode("utf-8", "replace"))),
                )
            case _:
                name = dice.choice(("ce_", "CE_id", "ce_data", "ce_revision", "", "x")) + teller.text()
                headers.append((name.encode("utf-8", "replace").decode()[:200], dice.randbytes(dice.randrange(20))))
    return replace(message, headers=tuple(headers))


def _other_revision(teller: Teller, message: Raw) -> Raw:
    revision = teller.dice.choice(("007", "-1", "2147483648", "1e3", "", "\u0667", str(teller.dice.randrange(9))))
    headers = tuple((name, revision.encode() if name == "ce_revision" else value) for name, value in message.headers)
    return replace(message, headers=headers)


def _other_key(teller: Teller, message: Raw) -> Raw:
    return replace(message, key=teller.dice.choice((None, b"", b"\xff\xfe", teller.dice.randbytes(40), b"k" * 500)))


def _other_topic(_: Teller, message: Raw) -> Raw:
    return replace(message, topic=LIFECYCLE)


DAMAGES: Final[tuple[Damage, ...]] = (
    _other_bytes,
    _other_bytes,
    _noise,
    _other_json,
    _other_json,
    _other_json,
    _other_time,
    _other_headers,
    _other_headers,
    _other_revision,
    _other_key,
    _other_topic,
)
