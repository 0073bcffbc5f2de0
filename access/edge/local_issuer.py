"""Local issuer of sessions: for tests, the demo and a laptop. It signs what an identity provider would sign."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from access.edge.jwks import write_jwks
from tenantry_client.asap.algorithms import PrivateKey, default_algorithm, sign
from tenantry_client.asap.tokens import encode, write

LIFETIME: Final = 3600


def _new_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class LocalIssuer:
    """An issuer with one key at a time; `rotate` takes another."""

    issuer: str
    audience: str
    key_id: str = "local-1"
    key: PrivateKey = field(default_factory=_new_key, repr=False)
    clock: Callable[[], float] = time.time

    def jwks(self) -> bytes:
        """Its JWK set."""
        return write_jwks({self.key_id: self.key.public_key()})

    def rotate(self, key_id: str, *, rsa_bits: int | None = None) -> None:
        """Sign with a new key from now on."""
        self.key_id = key_id
        self.key = _new_key() if rsa_bits is None else rsa.generate_private_key(65537, rsa_bits)

    def session(self, account_id: str, *, lifetime: int = LIFETIME, **claims: object) -> str:
        """A session of that account; `claims` replace or add to those that it has."""
        now = int(self.clock())
        content = {"iss": self.issuer, "aud": self.audience, "sub": account_id, "iat": now, "exp": now + lifetime}
        algorithm = default_algorithm(self.key)
        signed = f"{write({'alg': algorithm, 'kid': self.key_id, 'typ': 'JWT'})}.{write({**content, **claims})}"
        return f"{signed}.{encode(sign(algorithm, self.key, signed.encode()))}"
