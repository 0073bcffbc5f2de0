"""The signer of service tokens: one short-lived token for each audience, from one private key.

A token is made for a call, and may serve the next calls to the same audience until half of its life is over. A call of
a command asks for a fresh one each attempt, since its `jti` is accepted once. Rotation: publish the new public key,
`rotate` the signer to its private half, and revoke the old public key once its last token has expired.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from tenantry_client.asap.algorithms import PrivateKey, UnusableKey, default_algorithm, fits, load_private_key, sign
from tenantry_client.asap.key_ids import check_name, check_owner
from tenantry_client.asap.tokens import encode, write

DEFAULT_LIFETIME: Final = 60
MAX_LIFETIME: Final = 3600
KEPT_TOKENS: Final = 1_000


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and its name."""

    key_id: str
    key: PrivateKey = field(repr=False)
    algorithm: str

    @classmethod
    def load(cls, key_id: str, pem: bytes, *, algorithm: str | None = None) -> SigningKey:
        """From PEM. Raises Refused (`key-id-invalid`) and UnusableKey."""
        key = load_private_key(pem)
        chosen = algorithm or default_algorithm(key)
        if not fits(chosen, key):
            raise UnusableKey("the algorithm is of another family than the key")
        return cls(check_name(key_id, "the kid"), key, chosen)

    @classmethod
    def read(cls, key_id: str, file: Path, *, algorithm: str | None = None) -> SigningKey:
        """From a file. Raises OSError as well."""
        return cls.load(key_id, file.read_bytes(), algorithm=algorithm)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, *, prefix: str = "ASAP") -> SigningKey:
        """`ASAP_KEY_ID` with `ASAP_PRIVATE_KEY` or `ASAP_PRIVATE_KEY_FILE`, and perhaps `ASAP_ALGORITHM`.

        `prefix` stands in place of ASAP. Raises UnusableKey, Refused and OSError.
        """
        key_id, algorithm = environment.get(f"{prefix}_KEY_ID"), environment.get(f"{prefix}_ALGORITHM")
        pem, file = environment.get(f"{prefix}_PRIVATE_KEY"), environment.get(f"{prefix}_PRIVATE_KEY_FILE")
        if not key_id or bool(pem) == bool(file):
            raise UnusableKey(
                f"set {prefix}_KEY_ID, and {prefix}_PRIVATE_KEY or {prefix}_PRIVATE_KEY_FILE, one of both"
            )
        if pem:
            return cls.load(key_id, pem.encode(), algorithm=algorithm)
        return cls.read(key_id, Path(str(file)), algorithm=algorithm)


class Signer:
    """Signs in the name of one issuer. Safe for threads: the worst of a race is a token made twice."""

    def __init__(
        self,
        issuer: str,
        key: SigningKey,
        *,
        lifetime: int = DEFAULT_LIFETIME,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        """`lifetime` in seconds, at most an hour. Raises Refused where the key is not the issuer's, ValueError."""
        if not 1 <= lifetime <= MAX_LIFETIME:
            raise ValueError(f"a token lives 1 to {MAX_LIFETIME} seconds, not {lifetime}")
        check_owner(key.key_id, check_name(issuer, "the issuer"))
        self._issuer = issuer
        self._key = key
        self._lifetime = lifetime
        self._clock = clock
        self._new_id = new_id
        self._kept: dict[tuple[str, str | None], tuple[float, str]] = {}

    def rotate(self, key: SigningKey) -> None:
        """Sign with another key from now on. Raises Refused where it is not the issuer's."""
        check_owner(key.key_id, self._issuer)
        self._key = key
        self._kept = {}

    def token(self, audience: str, *, tenant: str | None = None) -> str:
        """A token that may be sent again to the same audience: for calls that only read."""
        now = self._clock()
        kept = self._kept.get((audience, tenant))
        if kept is not None and kept[0] <= now < kept[0] + self._lifetime / 2:
            return kept[1]
        token = self.fresh(audience, tenant=tenant)
        if len(self._kept) >= KEPT_TOKENS:
            self._kept = {}
        self._kept[audience, tenant] = (now, token)
        return token

    def fresh(self, audience: str, *, tenant: str | None = None) -> str:
        """A token with a `jti` of its own: for each attempt of a command. `tenant` is the claim of that name."""
        key, now = self._key, int(self._clock())
        claims = {
            "iss": self._issuer,
            "aud": audience,
            "iat": now,
            "exp": now + self._lifetime,
            "jti": self._new_id(),
            **({"tenant": tenant} if tenant is not None else {}),
        }
        signed = f"{write({'alg': key.algorithm, 'kid': key.key_id, 'typ': 'JWT'})}.{write(claims)}"
        return f"{signed}.{encode(sign(key.algorithm, key.key, signed.encode()))}"
