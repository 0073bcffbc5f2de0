"""Verifier of service tokens (ASAP): the caller of a request, and whether the token is meant for this service.

    parse strictly ─▶ kid is the issuer's ─▶ issuer may call at all ─▶ times, audience ─▶ key ─▶ signature ─▶ jti

The order matters: no key is fetched for a caller that the allow-list does not name, so an unknown caller cannot make
this service request keys. A verified token is remembered until it expires, its key must be requested again, or the key
source has changed: the same token again needs only a look-up. Each issuer has a share of that memory, so a caller with
a new token for each call displaces only its own tokens. Where a route is a command, a `jti` is accepted once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from tenantry_client.asap.algorithms import ALGORITHMS
from tenantry_client.asap.key_ids import check_name, check_owner
from tenantry_client.asap.public_keys import KeySource
from tenantry_client.asap.refusals import Refused
from tenantry_client.asap.replays import Replays
from tenantry_client.asap.tokens import Json, parse, read

MAX_LIFETIME: Final = 3600
"""Seconds from `iat` to `exp`, whatever the leeway."""

MAX_LEEWAY: Final = 60
MAX_AUDIENCES: Final = 16
MAX_TEXT: Final = 256
MAX_HEAD: Final = 1024
REMEMBERED: Final = 1_000


class Caller(NamedTuple):
    """The issuer, audience and end (seconds since 1970) of a verified token. `tenant` is the claim of that name."""

    issuer: str
    subject: str
    key_id: str
    audiences: tuple[str, ...]
    token_id: str
    issued_at: float
    expires_at: float
    tenant: str | None
    claims: Mapping[str, Any]


class _Remembered(NamedTuple):
    caller: Caller
    expires_at: float
    key_usable_until: float
    version: int


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
        remembered: int = REMEMBERED,
    ) -> None:
        """`may_call` answers for an issuer before any key is fetched; `leeway` in seconds, at most a minute.

        A subject other than the issuer is refused unless it is one of `other_subjects`. `remembered` is how many tokens
        of each issuer. Raises ValueError.
        """
        if not 0 <= leeway <= MAX_LEEWAY:
            raise ValueError(f"the leeway is 0 to {MAX_LEEWAY} seconds, not {leeway}")
        if remembered < 1:
            raise ValueError("at least one token of each issuer is remembered")
        self._audience = audience
        self._keys = keys
        self._may_call = may_call
        self._replays = replays
        self._leeway = leeway
        self._other_subjects = frozenset(other_subjects)
        self._clock = clock
        self._monotonic = monotonic
        self._share = remembered
        self._lock = threading.Lock()
        self._remembered: dict[str, _Remembered] = {}
        self._by_issuer: dict[str, deque[str]] = {}

    def verify(self, token: str | None, *, once: bool = False) -> Caller:
        """The caller. `once`: the route is a command, so the same token is refused the second time. Raises Refused."""
        if not token:
            raise Refused("token-missing", "the request carries no token: send Authorization: Bearer TOKEN")
        caller = self.remembered(token) or self._verified(token)
        if once:
            self._use_up(caller)
        return caller

    def remembered(self, token: str) -> Caller | None:
        """The caller of a token that was verified before and is good still: without any I/O. Raises Refused."""
        known = self._remembered.get(token)
        if (
            known is None
            or self._clock() >= known.expires_at
            or self._monotonic() >= known.key_usable_until
            or known.version != self._keys.version
        ):
            return None
        self._check_issuer(known.caller.issuer)
        return known.caller

    def _verified(self, text: str) -> Caller:
        token, version = parse(text), self._keys.version
        algorithm, key_id = _header(token.head)
        caller = self._caller(token.claims, key_id)
        self._check_issuer(caller.issuer)
        self._check_times(caller, token.claims)
        if self._audience not in caller.audiences:
            raise Refused("audience-not-ours", "the token is meant for another service: name this one in aud")
        found = self._keys.find(key_id, now=self._monotonic())
        found.key.verify(algorithm, token.signed, token.signature)
        self._remember(text, _Remembered(caller, caller.expires_at + self._leeway, found.usable_until, version))
        return caller

    def _caller(self, claims: Json, key_id: str) -> Caller:
        issuer = _text(claims, "iss")
        check_owner(key_id, issuer)
        subject = _text(claims, "sub") if "sub" in claims else issuer
        if subject != issuer and subject not in self._other_subjects:
            raise Refused("subject-not-allowed", "the subject is not the issuer: a service speaks for itself")
        return Caller(
            issuer,
            subject,
            key_id,
            _audiences(claims),
            _text(claims, "jti"),
            _time(claims, "iat"),
            _time(claims, "exp"),
            _text(claims, "tenant") if "tenant" in claims else None,
            claims,
        )

    def _check_issuer(self, issuer: str) -> None:
        if not self._may_call(issuer):
            raise Refused("issuer-not-allowed", "the issuer is not on the allow-list of this service")

    def _check_times(self, caller: Caller, claims: Json) -> None:
        now, starts, ends = self._clock(), caller.issued_at, caller.expires_at
        if "nbf" in claims:
            starts = max(_time(claims, "nbf"), starts)
        if ends <= starts:
            raise Refused("expires-before-issued", "the token ends before it begins: exp lies after iat and nbf")
        if ends - caller.issued_at > MAX_LIFETIME:
            raise Refused("lifetime-too-long", f"the token lives longer than {MAX_LIFETIME} s: sign one for a minute")
        if now + self._leeway < starts:
            raise Refused("not-yet-valid", "the token is not valid yet: compare the clocks of both machines")
        if now - self._leeway >= ends:
            raise Refused("expired", "the token has expired: sign another for each call")

    def _use_up(self, caller: Caller) -> None:
        if self._replays is None:
            raise Refused(
                "replay-record-unavailable", "this service keeps no record of tokens, so it takes no commands"
            )
        until = caller.expires_at + self._leeway
        if not self._replays.first(caller.issuer, self._audience, caller.token_id, until=until):
            raise Refused("token-repeated", "the token was used before: sign another for each attempt of a command")

    def _remember(self, text: str, entry: _Remembered) -> None:
        with self._lock:
            mine = self._by_issuer.setdefault(entry.caller.issuer, deque())
            if text not in self._remembered:
                mine.append(text)
            self._remembered[text] = entry
            if len(mine) > self._share:
                del self._remembered[mine.popleft()]


@lru_cache(maxsize=1024)
def _header(head: str) -> tuple[str, str]:
    """The algorithm and the kid. All tokens of a key share one header, so a good one is read once. Raises Refused."""
    header = read(head.encode())
    if len(head) > MAX_HEAD or not header.keys() <= {"alg", "kid", "typ"}:
        raise Refused(
            "header-not-allowed", "the header is too long, or has more fields than alg, kid and typ: leave them out"
        )
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise Refused("header-not-allowed", "typ is not JWT")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Refused("algorithm-not-allowed", "alg is none of RS, PS and ES with 256, 384 and 512")
    if "kid" not in header:
        raise Refused("key-id-invalid", "the header has no kid: name the key")
    return algorithm, check_name(header["kid"], "the kid")


def _text(claims: Json, name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        _check_present(value, name)
    elif 0 < len(value) <= MAX_TEXT and value.isascii() and value.isprintable():
        return value
    raise Refused("claim-invalid", f"{name} is no text of 1 to {MAX_TEXT} printable ASCII characters")


def _audiences(claims: Json) -> tuple[str, ...]:
    value = claims.get("aud")
    if not isinstance(value, list):
        return (_text(claims, "aud"),)
    if not 1 <= len(value) <= MAX_AUDIENCES:
        raise Refused("claim-invalid", f"aud names none, or more than {MAX_AUDIENCES}")
    return tuple(_text({"aud": each}, "aud") for each in value)


def _time(claims: Json, name: str) -> float:
    value: Any = claims.get(name)
    if type(value) in (int, float) and 0 <= value <= 2**53:  # not bool; NaN is no JSON, infinity is too large
        return float(value)
    _check_present(value, name)
    raise Refused("claim-invalid", f"{name} is no number of seconds since 1970")


def _check_present(value: object, name: str) -> None:
    if value is None:
        raise Refused("claim-missing", f"{name} is missing: every token has iss, aud, iat, exp and jti")
