"""The verifier of service tokens: what it accepts, and each way in which it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tenantry_client.asap import Caller, Refused, Verifier
from tenantry_client.asap.public_keys import FixedKeys, FoundKey
from tenantry_client.asap.replays import LocalReplays
from tests.clients.asap.mutants import (
    AUDIENCE,
    CLAIMS,
    EC_384_KEY,
    EC_KEY,
    GOOD,
    HEADER,
    ISSUER,
    KEY_ID,
    KEYS,
    MUTANTS,
    NOW,
    OTHER_RSA_KEY,
    RSA_KEY,
    Mutant,
    token,
    with_claims,
)


class CountedKeys(FixedKeys):
    """Keys in memory that count who asks for them."""

    def __init__(self) -> None:
        super().__init__(KEYS)
        self.asked: list[str] = []

    def find(self, key_id: str, *, now: float) -> FoundKey:
        self.asked.append(key_id)
        return super().find(key_id, now=now)


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keys() -> CountedKeys:
    return CountedKeys()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(keys: CountedKeys, clock: Clock) -> Verifier:
    return make(keys, clock)


def make(keys: FixedKeys, clock: Clock, *, may_call: Callable[[str], bool] = {ISSUER}.__contains__) -> Verifier:
    replays = LocalReplays(clock=clock)
    return Verifier(AUDIENCE, keys, may_call=may_call, replays=replays, leeway=10, clock=clock, monotonic=clock)


def refusal(verifier: Verifier, text: str | None, *, once: bool = False) -> str:
    with pytest.raises(Refused) as refused:
        verifier.verify(text, once=once)
    return refused.value.code


def test_a_good_token_names_its_caller(verifier: Verifier) -> None:
    caller = verifier.verify(GOOD)
    assert (caller.issuer, caller.subject, caller.key_id, caller.audiences) == (ISSUER, ISSUER, KEY_ID, (AUDIENCE,))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_token_with_one_thing_wrong_is_refused_by_its_name(verifier: Verifier, mutant: Mutant) -> None:
    assert refusal(verifier, mutant.text) == mutant.code
    assert refusal(verifier, mutant.text, once=True) == mutant.code


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_refusal_repeats_nothing_of_the_token(verifier: Verifier, mutant: Mutant) -> None:
    with pytest.raises(Refused) as refused:
        verifier.verify(mutant.text)
    said = refused.value.www_authenticate
    assert said.isascii()
    assert said.isprintable()
    assert "evil" not in said


def test_there_are_at_least_sixty_mutants_each_with_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 60


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_an_rsa_key_verifies_each_rsa_algorithm(verifier: Verifier, algorithm: str) -> None:
    assert verifier.verify(token({**HEADER, "alg": algorithm})).issuer == ISSUER


def test_a_curve_verifies_its_own_algorithm(verifier: Verifier) -> None:
    assert verifier.verify(token({**HEADER, "alg": "ES256", "kid": "billing/ec"}, key=EC_KEY)).issuer == ISSUER
    assert verifier.verify(token({**HEADER, "alg": "ES384", "kid": "billing/ec384"}, key=EC_384_KEY)).issuer == ISSUER


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [AUDIENCE]},
        {"aud": ["edge", AUDIENCE]},
        {"exp": NOW + 3600},
        {"iat": NOW - 3600, "exp": NOW},
        {"iat": NOW - 69, "exp": NOW - 9},
        {"iat": NOW + 10, "exp": NOW + 70},
        {"nbf": NOW - 5},
        {"sub": ISSUER},
        {"exp": NOW + 60.5},
        {"unknown": {"deep": [1, 2]}},
    ],
)
def test_what_the_rules_allow_is_accepted(verifier: Verifier, changes: dict[str, object]) -> None:
    assert isinstance(verifier.verify(with_claims(**changes)), Caller)


def test_no_key_is_fetched_for_an_issuer_that_may_not_call(keys: CountedKeys, clock: Clock) -> None:
    verifier = make(keys, clock, may_call=lambda _: False)
    assert refusal(verifier, GOOD) == "issuer-not-allowed"
    assert keys.asked == []


def test_no_key_is_fetched_for_a_token_that_is_refused_without_it(keys: CountedKeys, verifier: Verifier) -> None:
    for mutant in MUTANTS:
        if mutant.code not in ("signature-invalid", "algorithm-of-another-key", "key-unknown"):
            refusal(verifier, mutant.text)
    assert keys.asked == []


def test_the_same_token_again_asks_for_no_key(keys: CountedKeys, verifier: Verifier) -> None:
    assert verifier.verify(GOOD) is verifier.verify(GOOD)
    assert keys.asked == [KEY_ID]


def test_a_cached_token_expires(verifier: Verifier, clock: Clock) -> None:
    verifier.verify(GOOD)
    clock.now += 69
    verifier.verify(GOOD)
    clock.now += 1
    assert refusal(verifier, GOOD) == "expired"


def test_a_cached_token_is_refused_once_its_key_is_revoked(keys: CountedKeys, verifier: Verifier) -> None:
    verifier.verify(GOOD)
    keys.replace({})
    assert refusal(verifier, GOOD) == "key-unknown"


def test_a_cached_token_is_refused_once_its_issuer_left_the_allow_list(keys: CountedKeys, clock: Clock) -> None:
    allowed = {ISSUER}
    verifier = make(keys, clock, may_call=allowed.__contains__)
    verifier.verify(GOOD)
    allowed.clear()
    assert refusal(verifier, GOOD) == "issuer-not-allowed"


def test_a_command_takes_a_token_once(verifier: Verifier) -> None:
    verifier.verify(GOOD, once=True)
    assert refusal(verifier, GOOD, once=True) == "token-repeated"
    assert refusal(verifier, token(key=RSA_KEY), once=True) == "token-repeated"
    verifier.verify(with_claims(jti="another"), once=True)


def test_a_token_that_read_may_still_command_once(verifier: Verifier) -> None:
    verifier.verify(GOOD)
    verifier.verify(GOOD, once=True)
    assert refusal(verifier, GOOD, once=True) == "token-repeated"


def test_a_forged_token_does_not_use_up_the_id_of_a_good_one(verifier: Verifier) -> None:
    forged = next(mutant for mutant in MUTANTS if mutant.name == "another key's signature")
    assert refusal(verifier, forged.text, once=True) == "signature-invalid"
    verifier.verify(GOOD, once=True)


def test_the_cache_is_bounded(keys: CountedKeys, clock: Clock) -> None:
    verifier = Verifier(AUDIENCE, keys, may_call=lambda _: True, clock=clock, monotonic=clock, remembered=3)
    for number in range(10):
        verifier.verify(with_claims(jti=f"id-{number}"))
    assert len(verifier._remembered) <= 3  # noqa: SLF001


def test_a_caller_with_a_new_token_for_each_call_pushes_out_only_its_own(keys: CountedKeys, clock: Clock) -> None:
    verifier = Verifier(AUDIENCE, keys, may_call=lambda _: True, clock=clock, monotonic=clock, remembered=3)
    quiet = token({**HEADER, "kid": "support/1"}, {**CLAIMS, "iss": "support"}, key=OTHER_RSA_KEY)
    verifier.verify(quiet)
    for number in range(50):
        verifier.verify(with_claims(jti=f"flood-{number}"))
    asked = len(keys.asked)
    verifier.verify(quiet)
    assert len(keys.asked) == asked
    assert len(verifier._remembered) == 4  # noqa: SLF001


def test_tokens_that_are_refused_are_not_remembered(verifier: Verifier) -> None:
    for mutant in MUTANTS:
        refusal(verifier, mutant.text)
    assert verifier._remembered == {}  # noqa: SLF001


class KeysRevokedMeanwhile(CountedKeys):
    """The key is revoked by another thread just after it was found."""

    def find(self, key_id: str, *, now: float) -> FoundKey:
        found = super().find(key_id, now=now)
        self.replace({})
        return found


def test_a_key_that_is_revoked_while_a_token_is_verified_does_not_stay_in_memory(clock: Clock) -> None:
    verifier = make(KeysRevokedMeanwhile(), clock)
    verifier.verify(GOOD)
    assert refusal(verifier, GOOD) == "key-unknown"


def test_a_stolen_key_signs_for_its_own_service_alone(verifier: Verifier) -> None:
    as_another = token({**HEADER, "kid": KEY_ID}, {**CLAIMS, "iss": "support"})
    under_its_key = token({**HEADER, "kid": "support/1"}, {**CLAIMS, "iss": "support"})
    assert refusal(verifier, as_another) == "key-id-not-of-issuer"
    assert refusal(verifier, under_its_key) == "issuer-not-allowed"


def test_a_service_without_a_record_of_tokens_takes_no_commands(keys: CountedKeys, clock: Clock) -> None:
    verifier = Verifier(AUDIENCE, keys, may_call=lambda _: True, clock=clock, monotonic=clock)
    assert refusal(verifier, GOOD, once=True) == "replay-record-unavailable"


def test_each_claim_of_the_good_token_is_one_that_a_token_must_have() -> None:
    assert set(CLAIMS) == {"iss", "aud", "iat", "exp", "jti"}
