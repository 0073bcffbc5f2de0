"""Parsing of messages for the oracle: the event of a message, or the rule that it breaks.

The wire format is implemented a second time from the documentation, without the code of the intake.
The formats of names and addresses are left to the intake's own tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from demo.entries import Entry


class Refused(Exception):
    """The message goes to quarantine, for this rule."""


@dataclass(frozen=True, slots=True)
class Message:
    source: str
    id: str
    type: str
    revision: int | None
    data: dict[str, Any]
    content: str

    @property
    def tenant_id(self) -> str:
        return str(self.data["tenant_id"])


_PRODUCT: Final = "tenant_id product"
_FIELDS: Final[dict[str, tuple[str, str]]] = {  # type -> required fields of its data, optional fields
    "commerce.customer.updated": ("customer_id name country", "contacts administrators"),
    "tenant.created": ("tenant_id customer_id site_name residency administrator", "region products"),
    "tenant.destroyed": ("tenant_id reason", ""),
    "product.activated": (f"{_PRODUCT} edition users", "expires_at residency region"),
    "product.deactivated": (f"{_PRODUCT} reason", ""),
    "product.suspended": (f"{_PRODUCT} reason", ""),
    "product.unsuspended": (_PRODUCT, ""),
    "license.updated": (f"{_PRODUCT} edition users status", "expires_at"),
}
_KINDS: Final[dict[str, type]] = {
    "users": int,
    "contacts": list,
    "administrators": list,
    "products": list,
    "administrator": dict,
}


def read_event(entry: Entry) -> Message:
    """The event of a message, or the rule it breaks."""
    headers = {name.lower(): content for name, content in entry.headers}
    attributes = {name[3:]: content for name, content in headers.items() if name.startswith("ce_")}
    binary = bool(attributes)
    parsed = _json(entry.value)
    if binary:
        data = parsed
    else:
        if not isinstance(parsed, dict) or "specversion" not in parsed:
            raise Refused("not-cloudevent")
        attributes, data = {**parsed}, parsed.get("data")
    if attributes.get("specversion") != "1.0":
        raise Refused("not-cloudevent")
    if not all(isinstance(attributes.get(name), str) and attributes[name] for name in ("source", "id", "type")):
        raise Refused("bad-attribute")
    revision: Any = attributes.get("revision")
    if binary and revision is not None:
        revision = int(revision)
    if attributes["type"] not in _FIELDS:
        raise Refused("unknown-type")
    if not isinstance(data, dict) or not _fits(attributes["type"], data):
        raise Refused("bad-data")
    time = instant(attributes.get("time"))
    content = json.dumps([attributes["type"], str(time), revision, data], sort_keys=True)
    return Message(attributes["source"], attributes["id"], attributes["type"], revision, data, content)


def _json(value: bytes | None) -> Any:
    if not value:
        raise Refused("empty")
    if len(value) > 1024 * 1024:
        raise Refused("too-large")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    def never(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(value.decode(), object_pairs_hook=once, parse_constant=never)
    except ValueError:
        raise Refused("not-json") from None


def _fits(type_: str, data: dict[str, Any]) -> bool:
    required, optional = (names.split() for names in _FIELDS[type_])
    given = {name for name, value in data.items() if value is not None or name in required}
    if not set(required) <= given or not set(data) <= {*required, *optional}:
        return False
    kinds = all(type(data[name]) is _KINDS.get(name, str) for name in given)
    return (
        kinds
        and data.get("status", "active") in ("active", "inactive")
        and data.get("residency", "global") in ("global", "pinned", None)
        and not (data.get("residency") == "pinned" and data.get("region") is None)
        and all(_fits("product.activated", _as_activation(each)) for each in data.get("products", ()))
    )


def _as_activation(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of `products` as if it had come by itself."""
    return {"tenant_id": "", **{name: value for name, value in entry.items() if name != "revision"}}


def instant(text: str | None) -> datetime | None:
    """In UTC; beyond the year 1 or 9999 it is the first or the last moment. Independent of the code that it checks."""
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if time.year == 1 else datetime.max.replace(tzinfo=UTC)
