"""Sessions of users: an OIDC ID token in `Authorization`, or a signed session cookie, both JWTs of a known issuer.

    parse strictly ─▶ issuer known, and may come in this place? ─▶ audience, times ─▶ key ─▶ signature ─▶ the account

The same reader as for service tokens takes the token apart, so what two readers could understand in two ways is
refused. An issuer's token counts only where it is carried as the settings say: an ID token in a cookie, or a cookie's
content in a header, is refused. A verified session is remembered until it ends, or its key has to be looked at again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Literal, NamedTuple, Never

from access.edge.refusals import EdgeRefused
from access.edge.settings import SessionIssuer
from tenantry_client.asap.algorithms import ALGORITHMS
from tenantry_client.asap.public_keys import KeySource
from tenantry_client.asap.refusals import Refused
from tenantry_client.asap.tokens import Json, parse, read

Place = Literal["authorization", "cookie"]

LEEWAY: Final = 10.0
REMEMBERED: Final = 50_000
MAX_ACCOUNT: Final = 128
MAX_KEY_ID: Final = 256


class UserSession(NamedTuple):
    """A user who has signed in."""

    account_id: str
    place: Place
    expires_at: float
    key_usable_until: float


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer of sessions, and its keys."""

    settings: SessionIssuer
    keys: KeySource


class SessionVerifier:
    """Verifies sessions. Safe for threads; `verify` may wait for an issuer's keys."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        remembered: int = REMEMBERED,
    ) -> None:
        self._issuers: Mapping[str, Issuer] = {each.settings.issuer: each for each in issuers}
        self._clock = clock
        self._monotonic = monotonic
        self._limit = remembered
        self._lock = Lock()
        self._remembered: dict[str, UserSession] = {}

    def remembered(self, token: str, place: Place) -> UserSession | None:
        """The session of a token that was verified before and is good still: without any I/O."""
        known = self._remembered.get(token)
        if (
            known is None
            or known.place != place
            or self._clock() >= known.expires_at
            or self._monotonic() >= known.key_usable_until
        ):
            return None
        return known

    def verify(self, token: str, place: Place) -> UserSession:
        """The session. Raises EdgeRefused."""
        if known := self.remembered(token, place):
            return known
        try:
            session = self._verified(token, place)
        except Refused as error:
            raise _as_session(error) from None
        with self._lock:
            if len(self._remembered) >= self._limit:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[token] = session
        return session

    def _verified(self, text: str, place: Place) -> UserSession:
        token = parse(text)
        header, claims = read(token.head.encode()), token.claims
        algorithm, key_id = header.get("alg"), header.get("kid")
        issuer = self._issuers.get(_text(claims, "iss", 256))
        if issuer is None or issuer.settings.carried_in != place:
            _invalid("its issuer is not one whose sessions count in this place")
        if algorithm not in ALGORITHMS or "crit" in header or str(header.get("typ", "JWT")).upper() != "JWT":
            _invalid("its header asks for what is not supported: alg is RS, PS or ES, typ is JWT")
        if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID:
            _invalid("its header names no key: kid is missing")
        account_id = _text(claims, "sub", MAX_ACCOUNT)
        self._check_audience(claims, issuer.settings.audience)
        expires_at = self._check_times(claims, issuer.settings.longest_seconds)
        found = issuer.keys.find(key_id, now=self._monotonic())
        found.key.verify(algorithm, token.signed, token.signature)
        return UserSession(account_id, place, expires_at, found.usable_until)

    def _check_audience(self, claims: Json, ours: str) -> None:
        """One audience is ours; several only where `azp` says that the token was issued to us (OIDC Core 3.1.3.7)."""
        audience = claims.get("aud")
        if audience in (ours, [ours]):
            return
        if not isinstance(audience, list) or ours not in audience or claims.get("azp") != ours:
            _invalid("it is meant for another application")

    def _check_times(self, claims: Json, longest: int) -> float:
        now, begins, ends = self._clock(), _time(claims, "iat"), _time(claims, "exp")
        if "nbf" in claims:
            begins = max(begins, _time(claims, "nbf"))
        if not begins < ends <= begins + longest:
            _invalid(f"it ends before it begins, or lives longer than {longest} s")
        if now + LEEWAY < begins:
            _invalid("it is not valid yet: compare the clocks of both machines")
        if now >= ends:
            raise EdgeRefused("session-expired", "the session has ended: sign in again")
        return ends


def _text(claims: Json, name: str, longest: int) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isascii() or not value.isprintable():
        _invalid(f"{name} is no text of 1 to {longest} printable ASCII characters")
    if name == "sub" and " " in value:
        _invalid("sub holds a blank")
    return value


def _time(claims: Json, name: str) -> float:
    value: Any = claims.get(name)
    if type(value) not in (int, float) or not 0 <= value <= 2**53:
        _invalid(f"{name} is no number of seconds since 1970")
    return float(value)


def _invalid(why: str) -> Never:
    raise EdgeRefused("session-invalid", f"the session does not count: {why}")


_CODES: Final = {
    "token-malformed": "session-malformed",
    "key-unknown": "session-key-unknown",
    "key-unavailable": "session-key-unavailable",
}


def _as_session(error: Refused) -> EdgeRefused:
    return EdgeRefused(_CODES.get(error.code, "session-invalid"), f"the session does not count: {error}")
