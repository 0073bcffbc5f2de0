"""Compact JWS tokens: read strictly, written canonically.

A token that two readers could understand in two ways is refused: padding or stray bits in base64url, a key that stands
twice in a JSON object, bytes that are not UTF-8, numbers that are no JSON numbers.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Never

from tenantry_client.asap.refusals import Refused

MAX_BYTES: Final = 8 * 1024

Json = Mapping[str, Any]


class Token(NamedTuple):
    """A token taken apart, nothing of it believed yet. `head` is still encoded; `signature` is over `signed`."""

    head: str
    claims: Json
    signed: bytes
    signature: bytes


def parse(text: str) -> Token:
    """The token in `text`. Raises Refused(`token-malformed`)."""
    if len(text) > MAX_BYTES or not text.isascii():
        malformed(f"it is longer than {MAX_BYTES} bytes, or not ASCII")
    raw = text.encode()
    if raw.translate(None, _ALPHABET) != b"..":
        malformed("it is not three parts of base64url joined by dots")
    signed, _, signature = raw.rpartition(b".")
    head, _, body = signed.partition(b".")
    return Token(head.decode(), read(body), signed, decode(signature))


def read(part: bytes) -> Json:
    """The JSON object in a part of a token. Raises Refused(`token-malformed`)."""
    try:
        text = decode(part).decode("utf-8").strip(" \t\r\n")
        content, end = _scan(text, 0)
    except (ValueError, StopIteration, RecursionError):
        malformed("a part of it is not JSON in UTF-8")
    if not isinstance(content, dict) or end != len(text):
        malformed("a part of it is no JSON object")
    return content


def decode(part: bytes) -> bytes:
    """The bytes in a part of a token whose characters are known to be base64url. Raises Refused(`token-malformed`)."""
    if not part or part[-1] not in _LAST[len(part) % 4]:
        malformed("a part of it is empty, cut off, or has stray bits")
    return a2b_base64(part.translate(_TO_STANDARD) + b"==")


def encode(part: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def write(content: Json) -> str:
    """One JSON object as a part of a token."""
    return encode(json.dumps(content, separators=(",", ":"), allow_nan=False).encode())


def malformed(why: str) -> Never:
    """Raises Refused(`token-malformed`)."""
    raise Refused("token-malformed", f"the token cannot be read: {why}") from None


_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")

# The characters in which a part may end, by its length modulo 4: those whose unused bits are 0.
_LAST: Final = (_ALPHABET, b"", _ALPHABET[::16], _ALPHABET[::4])


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        malformed("a key stands twice in it")
    return members


def _no_number(_: str) -> Never:
    malformed("NaN and Infinity are not JSON")


# `scan_once` is what `JSONDecoder.decode` calls between two searches for white space.
_scan: Final = json.JSONDecoder(object_pairs_hook=_each_key_once, parse_constant=_no_number).scan_once  # type: ignore[attr-defined]
