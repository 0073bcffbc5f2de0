"""The Python reference library, atlassian-jwt-auth, asked about our tokens. Nothing of it is copied."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any, Self
from unittest import mock

from atlassian_jwt_auth import JWTAuthVerifier
from atlassian_jwt_auth.key import BasePublicKeyRetriever, KeyIdentifier

from tests.clients.asap.mutants import AUDIENCE, KEYS, NOW


class Keys(BasePublicKeyRetriever):
    """Public keys from memory."""

    def retrieve(self, key_identifier: KeyIdentifier | str, **_: Any) -> str:
        name = key_identifier if isinstance(key_identifier, str) else key_identifier.key_id
        return KEYS[name].decode()


class _StoppedClock(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(NOW, tz or UTC)


def accepts(token: str) -> bool:
    """Whether a fresh verifier of the library takes the token, at NOW and with the leeway of the vectors."""
    with mock.patch("jwt.api_jwt.datetime", _StoppedClock):
        try:
            JWTAuthVerifier(Keys()).verify_jwt(token, AUDIENCE, leeway=10)
        except Exception:  # noqa: BLE001  # it refuses with errors of many kinds: ValueError, KeyError, those of PyJWT
            return False
    return True
