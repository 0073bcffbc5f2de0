"""Access benchmark: the verification of a service token, against atlassian-jwt-auth.

    first    a token that was not seen before: both with the key in memory, RS256, 2048 bits, the same tokens
    repeat   the same token again: ours from memory, theirs as the first time, for it remembers none

The sides take turns in small rounds, so that what disturbs the machine disturbs both; medians over the rounds. What
the edge costs is measured in edge.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks import edge
from benchmarks.harness import Result, progress
from domain.errors import UsageError
from tenantry_client.asap import FixedKeys, Signer, SigningKey, Verifier

AUDIENCE: Final = "engine"
KEY_ID: Final = "billing/1"

Verify = Callable[[str], object]


def run(*, runs: int, quick: bool) -> Result:
    """Tokens a second of each side, and their ratios."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signer = Signer("billing", SigningKey(KEY_ID, key, "RS256"), lifetime=3600)
    ours, theirs = _ours(pem), _theirs(pem)
    size, rounds = (20, 3) if quick else (200, 10 * runs)
    again = signer.fresh(AUDIENCE)
    progress(f"access: {rounds} rounds of {size} tokens")
    ours(again), theirs(again)

    firsts, repeats, peers = [], [], []
    for _ in range(rounds):
        tokens = [signer.fresh(AUDIENCE) for _ in range(size)]
        firsts.append(_rate(ours, tokens))
        peers.append(_rate(theirs, tokens))
        repeats.append(_rate(ours, [again] * size * 20))
    first, repeat, peer = median(firsts), median(repeats), median(peers)
    return {
        "bench": "access",
        "ours": round(first),
        "peer": round(peer),
        "ratio": round(first / peer, 2),
        "first_ratio": round(first / peer, 2),
        "repeat": round(repeat),
        "repeat_ratio": round(repeat / peer, 1),
        "first_us": round(1e6 / first, 1),
        "repeat_us": round(1e6 / repeat, 2),
        "peer_us": round(1e6 / peer, 1),
        "runs": runs,
        "rounds": rounds,
        **edge.measure(runs=runs, quick=quick),
    }


def _rate(verify: Verify, tokens: Sequence[str]) -> float:
    started = time.perf_counter()
    for token in tokens:
        verify(token)
    return len(tokens) / (time.perf_counter() - started)


def _ours(pem: bytes) -> Verify:
    return Verifier(AUDIENCE, FixedKeys({KEY_ID: pem}), may_call={"billing"}.__contains__).verify


def _theirs(pem: bytes) -> Verify:
    """The peer as it comes; its key is in memory as well, and the library keeps it parsed."""
    try:
        from atlassian_jwt_auth import JWTAuthVerifier  # noqa: PLC0415
        from atlassian_jwt_auth.key import BasePublicKeyRetriever  # noqa: PLC0415
    except ImportError:
        raise UsageError("atlassian-jwt-auth is not installed: run `make venv`") from None

    class Keys(BasePublicKeyRetriever):  # type: ignore[misc, unused-ignore]
        def retrieve(self, key_identifier: Any, **_: Any) -> str:
            return pem.decode()

    verifier = JWTAuthVerifier(Keys())
    return lambda token: verifier.verify_jwt(token, AUDIENCE)
