"""A great many mutated tokens, of which none is accepted: 20,000 on each run, a million in `make test-access-long`."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tenantry_client.asap import LocalReplays, Refused, Verifier
from tenantry_client.asap.algorithms import load_verifying_key
from tenantry_client.asap.public_keys import FoundKey
from tenantry_client.asap.refusals import CODES
from tests.clients.asap.mutants import AUDIENCE, KEY_ID, KEYS, NOW
from tests.clients.asap.mutation import SEEN, mutated

RSA, EC = (load_verifying_key(KEYS[name]) for name in (KEY_ID, "billing/ec"))


class AnyKeys:
    """Has a key for every name, so that no token is refused for want of one."""

    version = 0

    def find(self, key_id: str, *, now: float) -> FoundKey:
        return FoundKey(EC if key_id == "billing/ec" else RSA, usable_until=now + 60)


def refused(seed: int, number: int) -> Counter[str]:
    """The codes by which that many mutated tokens were refused, beside good ones that are remembered."""
    verifier = Verifier(
        AUDIENCE, AnyKeys(), may_call=lambda _: True, replays=LocalReplays(clock=lambda: NOW), clock=lambda: NOW
    )
    for good in SEEN:
        verifier.verify(good)
    codes: Counter[str] = Counter()
    for text in mutated(seed, number):
        try:
            caller = verifier.verify(text)
        except Refused as refusal:
            codes[refusal.code] += 1
        else:
            pytest.fail(f"accepted, seed {seed}: {text!r} as {caller}")
    return codes


def test_none_of_twenty_thousand_mutated_tokens_is_accepted() -> None:
    codes = refused(seed=20_000, number=20_000)
    assert codes.total() == 20_000
    never = {
        "token-missing",
        "token-repeated",
        "replay-record-unavailable",
        "issuer-not-allowed",
        "key-unknown",
        "key-unavailable",
    }
    assert set(codes) >= set(CODES) - never, "the mutations reach every check but those that need more than a token"


@pytest.mark.access_long
@pytest.mark.timeout(1200)
def test_none_of_a_million_mutated_tokens_is_accepted() -> None:
    started = time.monotonic()
    codes = sum((refused(seed, 100_000) for seed in range(10)), Counter[str]())
    assert codes.total() == 1_000_000
    took = time.monotonic() - started
    print(f"\n1,000,000 mutated tokens refused in {took:.0f} s:", dict(codes.most_common()))  # noqa: T201
