"""The signer of service tokens: the verifier takes what it signs; keys from files and the environment; rotation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tenantry_client.asap import FixedKeys, KeyFolder, LocalReplays, Refused, Signer, SigningKey, UnusableKey, Verifier
from tenantry_client.asap.algorithms import ALGORITHMS
from tests.clients.asap.mutants import AUDIENCE, ISSUER, KEY_ID, KEYS, NOW

FILES = Path(__file__).parent / "keys"
RSA = FILES / "rsa.test.pem"
OTHER = FILES / "other-rsa.test.pem"
EC = FILES / "ec.test.pem"


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock: Clock) -> Signer:
    return Signer(ISSUER, SigningKey.read(KEY_ID, RSA), clock=clock)


def verifier(clock: Clock, keys: dict[str, bytes] | None = None) -> Verifier:
    return Verifier(
        AUDIENCE,
        FixedKeys(keys or KEYS),
        may_call={ISSUER}.__contains__,
        replays=LocalReplays(clock=clock),
        clock=clock,
    )


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS - {"ES512"}))
def test_what_the_signer_signs_the_verifier_takes(algorithm: str, clock: Clock) -> None:
    names = {"ES256": ("billing/ec", EC), "ES384": ("billing/ec384", FILES / "ec384.test.pem")}
    key_id, file = names.get(algorithm, (KEY_ID, RSA))
    signer = Signer(ISSUER, SigningKey.read(key_id, file, algorithm=algorithm), clock=clock)
    caller = verifier(clock).verify(signer.fresh(AUDIENCE, tenant="acme"), once=True)
    assert (caller.issuer, caller.key_id, caller.tenant) == (ISSUER, key_id, "acme")
    assert caller.expires_at - caller.issued_at == 60


def test_a_token_serves_its_audience_until_half_of_its_life_is_over(signer: Signer, clock: Clock) -> None:
    token = signer.token(AUDIENCE)
    clock.now += 29
    assert signer.token(AUDIENCE) == token
    assert signer.token("edge") != token
    assert signer.token(AUDIENCE, tenant="acme") != token
    clock.now += 1
    assert signer.token(AUDIENCE) != token


def test_a_clock_that_goes_back_makes_a_new_token(signer: Signer, clock: Clock) -> None:
    signer.token(AUDIENCE)
    clock.now -= 3600
    assert verifier(clock).verify(signer.token(AUDIENCE)).issued_at == clock.now


def test_each_attempt_of_a_command_has_a_token_of_its_own(signer: Signer, clock: Clock) -> None:
    ours = verifier(clock)
    assert len({ours.verify(signer.fresh(AUDIENCE), once=True).token_id for _ in range(20)}) == 20


def test_keys_are_rotated_with_an_overlap_and_the_old_one_is_revoked_after_it(signer: Signer, clock: Clock) -> None:
    keys = FixedKeys({KEY_ID: KEYS[KEY_ID]})
    ours = Verifier(AUDIENCE, keys, may_call={ISSUER}.__contains__, clock=clock)
    old = signer.token(AUDIENCE)
    ours.verify(old)

    new_id = f"{ISSUER}/2027-02"
    keys.replace({KEY_ID: KEYS[KEY_ID], new_id: KEYS["support/1"]})
    signer.rotate(SigningKey.read(new_id, OTHER))
    new = signer.token(AUDIENCE)
    assert [ours.verify(each).key_id for each in (old, new)] == [KEY_ID, new_id]

    keys.replace({new_id: KEYS["support/1"]})
    assert ours.verify(new).key_id == new_id
    with pytest.raises(Refused, match="not known, or was revoked"):
        ours.verify(old)


def test_a_key_that_left_its_folder_is_refused_when_its_age_is_over(
    signer: Signer, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / ISSUER).mkdir()
    file = tmp_path / f"{KEY_ID}.pem"
    file.write_bytes(KEYS[KEY_ID])
    ours = Verifier(
        AUDIENCE, KeyFolder(tmp_path, max_age=10), may_call=lambda _: True, clock=clock, monotonic=lambda: clock.now
    )
    token = signer.token(AUDIENCE)
    ours.verify(token)
    file.unlink()
    clock.now += 9
    ours.verify(token)
    clock.now += 1
    with pytest.raises(Refused) as refused:
        ours.verify(token)
    assert refused.value.code == "key-unknown"


@pytest.mark.parametrize("content", [b"no key", b"x" * 20_000, b""])
def test_a_key_file_that_cannot_be_used_is_nobody_s_fault_who_calls(
    content: bytes, signer: Signer, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / ISSUER).mkdir()
    (tmp_path / f"{KEY_ID}.pem").write_bytes(content)
    with pytest.raises(Refused) as refused:
        Verifier(AUDIENCE, KeyFolder(tmp_path), may_call=lambda _: True, clock=clock).verify(signer.token(AUDIENCE))
    assert (refused.value.code, refused.value.status) == ("key-unavailable", 503)


@pytest.mark.parametrize("key_id", ["billing/" + "a" * 248, "billing/2027-01.pem/x", "billing", "nobody/1"])
def test_a_name_that_no_file_has_is_unknown(key_id: str, tmp_path: Path) -> None:
    (tmp_path / ISSUER).mkdir()
    (tmp_path / f"{KEY_ID}.pem").write_bytes(KEYS[KEY_ID])
    with pytest.raises(Refused) as refused:
        KeyFolder(tmp_path).find(key_id, now=0.0)
    assert refused.value.code == "key-unknown"


def test_a_key_comes_from_the_environment_as_text_or_as_a_file(clock: Clock) -> None:
    text = {"ASAP_KEY_ID": KEY_ID, "ASAP_PRIVATE_KEY": RSA.read_text(), "ASAP_ALGORITHM": "PS512"}
    file = {"BILLING_KEY_ID": KEY_ID, "BILLING_PRIVATE_KEY_FILE": str(RSA)}
    for key in (SigningKey.from_environment(text), SigningKey.from_environment(file, prefix="BILLING")):
        verifier(clock).verify(Signer(ISSUER, key, clock=clock).token(AUDIENCE))
    assert SigningKey.from_environment(text).algorithm == "PS512"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"ASAP_KEY_ID": KEY_ID},
        {"ASAP_PRIVATE_KEY": "x"},
        {"ASAP_KEY_ID": KEY_ID, "ASAP_PRIVATE_KEY": "x"},
        {"ASAP_KEY_ID": KEY_ID, "ASAP_PRIVATE_KEY": RSA.read_text(), "ASAP_PRIVATE_KEY_FILE": str(RSA)},
        {"ASAP_KEY_ID": KEY_ID, "ASAP_PRIVATE_KEY": RSA.read_text(), "ASAP_ALGORITHM": "ES256"},
        {"ASAP_KEY_ID": KEY_ID, "ASAP_PRIVATE_KEY": RSA.read_text(), "ASAP_ALGORITHM": "none"},
    ],
)
def test_an_environment_without_a_usable_key_says_so_and_shows_no_key(environment: dict[str, str]) -> None:
    with pytest.raises(UnusableKey) as unusable:
        SigningKey.from_environment(environment)
    assert "PRIVATE KEY-----" not in str(unusable.value)


def test_a_signing_key_does_not_show_its_key() -> None:
    assert "key=" not in repr(SigningKey.read(KEY_ID, RSA)).replace("key_id=", "")


@pytest.mark.parametrize("key_id", ["support/1", "billing", "billing-evil/1"])
def test_a_signer_takes_only_keys_of_its_issuer(key_id: str, signer: Signer) -> None:
    with pytest.raises(Refused):
        Signer(ISSUER, SigningKey.read(key_id, RSA))
    with pytest.raises(Refused):
        signer.rotate(SigningKey.read(key_id, RSA))


@pytest.mark.parametrize("lifetime", [0, -1, 3601])
def test_a_lifetime_is_an_hour_at_most(lifetime: int) -> None:
    with pytest.raises(ValueError, match="a token lives 1 to 3600 seconds"):
        Signer(ISSUER, SigningKey.read(KEY_ID, RSA), lifetime=lifetime)


def test_many_threads_sign_and_verify_with_one_signer_and_one_verifier(signer: Signer, clock: Clock) -> None:
    ours = verifier(clock)

    def call(number: int) -> str:
        return ours.verify(signer.fresh(AUDIENCE) if number % 2 else signer.token(AUDIENCE)).issuer

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(call, range(400))) == {ISSUER}
