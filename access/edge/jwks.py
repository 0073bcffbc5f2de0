"""JWK sets: the public keys of an issuer of sessions (RFC 7517), from a file or over HTTPS, kept for some minutes.

    find(kid) ─▶ in the set, and the set young? ─▶ the key
                    └─ no ─▶ load it again, once in `pause` seconds at most ─▶ the key, or there is none

A set that cannot be loaded again serves until its age is over, and then no session is believed. Names that are not in
the set make it be loaded again, since an issuer may have changed its keys; `pause` bounds what a flood of them costs.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tenantry_client.asap.algorithms import PublicKey, UnusableKey, VerifyingKey, load_verifying_key
from tenantry_client.asap.https import get, location
from tenantry_client.asap.public_keys import FoundKey, unknown_key
from tenantry_client.asap.refusals import Refused
from tenantry_client.asap.tokens import decode, encode

MAX_BYTES: Final = 256 * 1024
MAX_AGE: Final = 300.0
PAUSE: Final = 5.0

_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}

Load = Callable[[], bytes]
"""Reads a JWK set. Raises OSError where it cannot be had."""


class JwkSet:
    """The keys of one issuer, as `load` reads them. A `KeySource` of the client; for many threads."""

    version: Final = 0

    def __init__(self, load: Load, *, max_age: float = MAX_AGE, pause: float = PAUSE) -> None:
        self._load = load
        self._max_age = max_age
        self._pause = pause
        self._lock = threading.Lock()
        self._keys: dict[str, FoundKey] = {}
        self._until = self._tried = float("-inf")

    def find(self, key_id: str, *, now: float) -> FoundKey:
        """The key of that name. Raises Refused: `key-unknown`, or `key-unavailable` where no set can be had."""
        found = self._keys.get(key_id)
        if found is not None and now < self._until - self._max_age / 2:
            return found
        self._renew(now)
        if now >= self._until:
            raise Refused("key-unavailable", "the keys of the issuer of sessions cannot be had: try again later")
        if (found := self._keys.get(key_id)) is None:
            raise unknown_key()
        return found

    def _renew(self, now: float) -> None:
        """Load the set, unless that was tried a moment ago, or another thread is at it and the set still counts."""
        if not self._lock.acquire(blocking=now >= self._until):
            return
        try:
            if now < self._tried + self._pause:
                return
            self._tried = now
            keys = read_jwks(self._load())
            self._until = now + self._max_age
            self._keys = {name: FoundKey(key, usable_until=self._until) for name, key in keys.items()}
        except (OSError, ValueError):
            pass  # what is known serves until its age is over
        finally:
            self._lock.release()


def read_jwks(content: bytes) -> dict[str, VerifyingKey]:
    """The keys by name; keys of other kinds, for encryption, or too weak are left out. Raises ValueError."""
    document = json.loads(content)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no JWK set: an object with a list of keys")  # noqa: TRY004 - what was read is wrong
    found = {}
    for each in listed:
        if isinstance(each, dict) and isinstance(name := each.get("kid"), str) and each.get("use", "sig") == "sig":
            try:
                found[name] = load_verifying_key(_pem(_public_key(each)))
            except (UnusableKey, Refused, KeyError, TypeError, ValueError):
                continue
    return found


def write_jwks(keys: Mapping[str, PublicKey]) -> bytes:
    """A JWK set of these keys."""
    return json.dumps({"keys": [{"kid": name, "use": "sig", **_members(key)} for name, key in keys.items()]}).encode()


def from_file(file: Path) -> Load:
    """Reads a file."""

    def load() -> bytes:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES)

    return load


def from_https(url: str, *, seconds: float = 2.0) -> Load:
    """Asks by HTTPS, believing the certificates of the machine (SSL_CERT_FILE names others). Raises ValueError."""
    place, tls = location(url, "a JWK set"), ssl.create_default_context()

    def load() -> bytes:
        try:
            answer = get(place, place.path, accept="application/json", limit=MAX_BYTES, timeout=seconds, tls=tls)
        except HTTPException as error:
            raise OSError(f"no JWK set: {type(error).__name__}") from None
        if answer.status != 200 or len(answer.body) > MAX_BYTES:
            raise OSError(f"no JWK set: status {answer.status}, {len(answer.body)} bytes")
        return answer.body

    return load


def _public_key(jwk: Mapping[str, Any]) -> PublicKey:
    if jwk["kty"] == "RSA":
        return rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
    if jwk["kty"] == "EC":
        curve = _CURVES[jwk["crv"]]
        return ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curve).public_key()
    raise UnusableKey("a key of another kind")


def _number(text: object) -> int:
    if not isinstance(text, str) or not text.isascii():
        raise UnusableKey("a number is no text")
    return int.from_bytes(decode(text.encode()))


def _pem(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _members(key: PublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    if isinstance(numbers, rsa.RSAPublicNumbers):
        return {"kty": "RSA", "n": _text(numbers.n), "e": _text(numbers.e)}
    size = (numbers.curve.key_size + 7) // 8
    curve = next(name for name, each in _CURVES.items() if each.name == numbers.curve.name)
    return {"kty": "EC", "crv": curve, "x": _text(numbers.x, size), "y": _text(numbers.y, size)}


def _text(number: int, size: int | None = None) -> str:
    return encode(number.to_bytes(size or (number.bit_length() + 7) // 8))
