"""The verifier of service tokens (ASAP): who calls, and is the call meant for us?

    parse strictly ─▶ kid is the issuer's ─▶ issuer may call at all ─▶ times, audience ─▶ key ─▶ signature ─▶ jti

The order matters: no key is fetched for a caller that the allow-list does not know, so that nobody outside can make us
ask for keys. What was verified once is remembered until it expires or the key source has changed: the same token again
costs a look-up. Where a route is a command, a `jti` is accepted once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from tenantry_client.asap.algorithms import ALGORITHMS, verify
from tenantry_client.asap.key_ids import check_name, check_owner
from tenantry_client.asap.public_keys import KeySource
from tenantry_client.asap.refusals import Refused
from tenantry_client.asap.replays import Replays
from tenantry_client.asap.tokens import Token, parse

MAX_LIFETIME: Final = 3600
"""Seconds from `iat` to `exp`, whatever the leeway."""

MAX_LEEWAY: Final = 60
MAX_AUDIENCES: Final = 16
MAX_TEXT: Final = 256
CACHED_TOKENS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed a token, for whom, until when (seconds since 1970). `tenant` is the claim of that name."""

    issuer: str
    subject: str
    key_id: str
    audiences: tuple[str, ...]
    token_id: str
    issued_at: float
    expires_at: float
    tenant: str | None
    claims: Mapping[str, Any]


class Verifier:
    """Verifies tokens that are meant for `audience`. Safe for threads."""

    def __init__(
        self,
        audience: str,
        keys: KeySource,
        *,
        may_call: Callable[[str], bool],
        replays: Replays | None = None,
        leeway: int = 10,
        other_subjects: Collection[str] = (),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        cached: int = CACHED_TOKENS,
    ) -> None:
        """`may_call` answers for an issuer before any key is fetched; `leeway` in seconds, at most a minute.

        A subject other than the issuer is refused unless it is one of `other_subjects`. Raises ValueError.
        """
        if not 0 <= leeway <= MAX_LEEWAY:
            raise ValueError(f"the leeway is 0 to {MAX_LEEWAY} seconds, not {leeway}")
        self._audience = audience
        self._keys = keys
        self._may_call = may_call
        self._replays = replays
        self._leeway = leeway
        self._other_subjects = frozenset(other_subjects)
        self._clock = clock
        self._monotonic = monotonic
        self._most_cached = cached
        self._cache: dict[str, tuple[float, float, int, Caller]] = {}

    def verify(self, token: str | None, *, once: bool = False) -> Caller:
        """The caller. `once`: the route is a command, so the same token is refused the second time. Raises Refused."""
        if token is None or not token:
            raise Refused("token-missing", "the request carries no token: send Authorization: Bearer TOKEN")
        known = self._cache.get(token)
        if known is not None:
            usable_until, expires_at, version, caller = known
            if self._clock() < expires_at and self._monotonic() < usable_until and version == self._keys.version:
                if not self._may_call(caller.issuer):
                    self._forget(token)
                    raise Refused("issuer-not-allowed", "the issuer is not on the allow-list of this service")
                return self._once(caller) if once else caller
            self._forget(token)
        caller = self._verified(token)
        return self._once(caller) if once else caller

    def _verified(self, text: str) -> Caller:
        token, version = parse(text), self._keys.version
        algorithm, key_id = _header(token)
        caller = self._caller(token, key_id)
        if not self._may_call(caller.issuer):
            raise Refused("issuer-not-allowed", "the issuer is not on the allow-list of this service")
        self._check_times(caller, token.claims)
        self._check_audience(caller)
        found = self._keys.find(key_id, now=self._monotonic())
        verify(algorithm, found.key, token.signed, token.signature)
        if len(self._cache) >= self._most_cached:
            self._cache = {}
        self._cache[text] = (found.usable_until, caller.expires_at + self._leeway, version, caller)
        return caller

    def _caller(self, token: Token, key_id: str) -> Caller:
        claims = token.claims
        issuer = check_name(_text(claims, "iss"), "the issuer")
        check_owner(key_id, issuer)
        subject = _text(claims, "sub") if "sub" in claims else issuer
        if subject != issuer and subject not in self._other_subjects:
            raise Refused("subject-not-allowed", "the subject is not the issuer: a service speaks for itself")
        return Caller(
            issuer=issuer,
            subject=subject,
            key_id=key_id,
            audiences=_audiences(claims),
            token_id=_text(claims, "jti"),
            issued_at=_time(claims, "iat"),
            expires_at=_time(claims, "exp"),
            tenant=_text(claims, "tenant") if "tenant" in claims else None,
            claims=claims,
        )

    def _check_times(self, caller: Caller, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        starts = max(_time(claims, "nbf"), caller.issued_at) if "nbf" in claims else caller.issued_at
        if caller.expires_at <= caller.issued_at or caller.expires_at <= starts:
            raise Refused("expires-before-issued", "the token ends before it begins: exp lies after iat and nbf")
        if caller.expires_at - caller.issued_at > MAX_LIFETIME:
            raise Refused("lifetime-too-long", f"the token lives longer than {MAX_LIFETIME} s: sign one for a minute")
        if now + self._leeway < starts:
            raise Refused("not-yet-valid", "the token is not valid yet: compare the clocks of both machines")
        if now - self._leeway >= caller.expires_at:
            raise Refused("expired", "the token has expired: sign another for each call")

    def _check_audience(self, caller: Caller) -> None:
        if self._audience not in caller.audiences:
            raise Refused("audience-not-ours", "the token is meant for another service: name this one in aud")

    def _once(self, caller: Caller) -> Caller:
        if self._replays is None:
            raise Refused("token-repeated", "this service keeps no record of tokens, so it takes no commands")
        until = caller.expires_at + self._leeway
        if not self._replays.first(caller.issuer, self._audience, caller.token_id, until=until):
            raise Refused("token-repeated", "the token was used before: sign another for each attempt of a command")
        return caller

    def _forget(self, token: str) -> None:
        self._cache.pop(token, None)


def _header(token: Token) -> tuple[str, str]:
    """The algorithm and the kid."""
    header = token.header
    if unknown := header.keys() - {"alg", "kid", "typ"}:
        raise Refused("header-not-allowed", f"the header has {len(unknown)} fields besides alg, kid and typ: leave them out")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise Refused("header-not-allowed", "typ is not JWT")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Refused("algorithm-not-allowed", "alg is none of RS, PS and ES with 256, 384 and 512")
    if "kid" not in header:
        raise Refused("key-id-invalid", "the header has no kid: name the key")
    return algorithm, check_name(header["kid"], "the kid")


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = _claim(claims, name)
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT or not (value.isascii() and value.isprintable()):
        raise Refused("claim-invalid", f"{name} is no text of 1 to {MAX_TEXT} printable ASCII characters")
    return value


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    value = _claim(claims, "aud")
    if isinstance(value, list):
        if not 1 <= len(value) <= MAX_AUDIENCES:
            raise Refused("claim-invalid", f"aud names none, or more than {MAX_AUDIENCES}")
        return tuple(_text({"aud": each}, "aud") for each in value)
    return (_text(claims, "aud"),)


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = _claim(claims, name)
    if type(value) not in (int, float) or not 0 <= value <= 2**53 or not isfinite(value):
        raise Refused("claim-invalid", f"{name} is no number of seconds since 1970")
    return value  # type: ignore[no-any-return]


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    if name not in claims or claims[name] is None:
        raise Refused("claim-missing", f"{name} is missing: every token has iss, aud, iat, exp and jti")
    return claims[name]
