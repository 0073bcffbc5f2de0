"""Compact JWS tokens: read strictly, written canonically.

What two readers could understand in two ways is refused: padding or stray bits in base64url, a key that stands twice in
a JSON object, bytes that are not UTF-8, numbers that are no JSON numbers.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Never

from tenantry_client.asap.refusals import Refused

MAX_BYTES: Final = 8 * 1024

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart, nothing of it believed yet. `signed` is what `signature` is over."""

    header: Json
    claims: Json
    signed: bytes
    signature: bytes


def parse(text: str) -> Token:
    """The token in `text`. Raises Refused(`token-malformed`)."""
    if len(text) > MAX_BYTES or not _COMPACT.fullmatch(text):
        _malformed(f"it is not three parts of base64url joined by dots, at most {MAX_BYTES} bytes")
    head, body, signature = text.split(".")
    signed = text[: len(head) + 1 + len(body)].encode()
    return Token(_object(_decode(head)), _object(_decode(body)), signed, _decode(signature))


def encode(part: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def write(content: Json) -> str:
    """One JSON object as a part of a token."""
    return encode(json.dumps(content, separators=(",", ":"), allow_nan=False).encode())


_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


def _decode(part: str) -> bytes:
    if len(part) % 4 == 1:
        _malformed("a part of it is cut off")
    decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if encode(decoded) != part:
        _malformed("a part of it has stray bits")
    return decoded


def _object(part: bytes) -> Json:
    try:
        content = _DECODER.decode(part.decode("utf-8"))
    except (ValueError, RecursionError):
        _malformed("a part of it is not JSON in UTF-8")
    if not isinstance(content, dict):
        _malformed("a part of it is no JSON object")
    return content


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        _malformed("a key stands twice in it")
    return members


def _no_number(_: str) -> Never:
    _malformed("NaN and Infinity are not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_each_key_once, parse_constant=_no_number)


def _malformed(why: str) -> Never:
    raise Refused("token-malformed", f"the token cannot be read: {why}") from None
