"""Keys from repositories over HTTPS: what a repository can do to us, and what we make of it."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tenantry_client.asap import HttpsKeys, Refused
from tenantry_client.asap.https_keys import UNKNOWN_KEYS
from tests.clients.asap import repositories
from tests.clients.asap.mutants import KEY_ID, KEYS
from tests.clients.asap.repositories import Answer, Authority, always, response, serving

GOOD = repositories.keys(KEYS)

FAULTS: dict[str, Answer] = {
    "500": always(response(500, b"")),
    "503": always(response(503, b"")),
    "403": always(response(403, b"")),
    "a redirect": always(response(302, b"", more="location: https://127.0.0.1/elsewhere\r\n")),
    "no HTTP": always(b"hello\r\n\r\n"),
    "nothing": always(b""),
    "silence": repositories.silent,
    "silence in the handshake": repositories.silent_in_the_handshake,
    "a byte now and then": repositories.drips,
    "HTML": always(response(200, KEYS[KEY_ID], media_type="text/html")),
    "no key": always(response(200, b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n")),
    "a key behind 20 KiB of talk": always(response(200, b"x" * 20_000 + KEYS[KEY_ID])),
    "a body that is cut off": always(response(200, KEYS[KEY_ID])[:-50]),
    "endless headers": always(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=list(FAULTS.values()), ids=list(FAULTS))
def faulty(request: pytest.FixtureRequest, authority: Authority) -> Iterator[repositories.Repository]:
    with serving(authority, request.param) as repository:
        yield repository


def make(authority: Authority, *urls: str) -> HttpsKeys:
    return HttpsKeys(urls, tls=authority.client, timeout=0.4, max_age=30, missing_age=5, rest_seconds=5)


def refusal(keys: HttpsKeys, key_id: str = KEY_ID, *, now: float = 0.0) -> str:
    with pytest.raises(Refused) as refused:
        keys.find(key_id, now=now)
    return refused.value.code


def test_a_repository_that_has_a_fault_is_no_answer(faulty: repositories.Repository, authority: Authority) -> None:
    started = time.monotonic()
    assert refusal(make(authority, faulty.url)) == "key-unavailable"
    assert time.monotonic() - started < 2


def test_the_next_repository_is_asked_where_one_has_a_fault(
    faulty: repositories.Repository, authority: Authority
) -> None:
    with serving(authority, GOOD) as good:
        assert make(authority, faulty.url, good.url).find(KEY_ID, now=0.0).usable_until == 30.0
        assert good.asked == [f"/keys/{KEY_ID}"]


def test_the_next_repository_is_asked_where_one_is_down(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with serving(authority, GOOD) as good:
        assert make(authority, f"https://127.0.0.1:{port}", good.url).find(KEY_ID, now=0.0)


def test_a_redirect_is_not_followed(authority: Authority) -> None:
    with serving(authority, GOOD) as elsewhere:
        to = f"location: {elsewhere.url}/{KEY_ID}\r\n"
        with serving(authority, always(response(302, b"", more=to))) as repository:
            assert refusal(make(authority, repository.url)) == "key-unavailable"
        assert elsewhere.asked == []


def test_a_repository_of_another_authority_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    with serving(Authority.make(tmp_path), GOOD) as repository:
        assert refusal(make(authority, repository.url)) == "key-unavailable"
        assert repository.asked == []


def test_a_repository_whose_certificate_names_another_host_is_not_believed(authority: Authority) -> None:
    with serving(authority, GOOD) as repository:
        assert refusal(make(authority, repository.url.replace("127.0.0.1", "localhost"))) == "key-unavailable"
        assert repository.asked == []


def test_the_default_trust_is_the_machine_s(authority: Authority) -> None:
    with serving(authority, GOOD) as repository:
        assert refusal(HttpsKeys([repository.url], timeout=0.4)) == "key-unavailable"
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


def test_a_key_that_is_not_there_is_final(authority: Authority) -> None:
    with serving(authority, repositories.keys({})) as first, serving(authority, GOOD) as second:
        assert refusal(make(authority, first.url, second.url)) == "key-unknown"
        assert second.asked == []


def test_a_key_is_kept_and_asked_for_again_from_half_of_its_age_on(authority: Authority) -> None:
    with serving(authority, GOOD) as repository:
        keys = make(authority, repository.url)
        for now in (0.0, 1.0, 14.9):
            keys.find(KEY_ID, now=now)
        assert len(repository.asked) == 1
        assert keys.find(KEY_ID, now=15.0).usable_until == 45.0
        assert len(repository.asked) == 2


def test_an_outage_costs_nothing_until_the_key_is_too_old(authority: Authority) -> None:
    with serving(authority, GOOD) as repository:
        keys = make(authority, repository.url)
        keys.find(KEY_ID, now=0.0)
        repository.answer = FAULTS["503"]
        assert keys.find(KEY_ID, now=29.9).usable_until == 30.0
        assert refusal(keys, now=30.0) == "key-unavailable"


def test_a_silent_repository_holds_up_one_call_for_a_key_that_still_counts(authority: Authority) -> None:
    with serving(authority, GOOD) as repository:
        keys = make(authority, repository.url)
        keys.find(KEY_ID, now=0.0)
        repository.answer = repositories.silent
        with ThreadPoolExecutor(8) as pool:
            started = time.monotonic()
            took = list(pool.map(lambda _: (keys.find(KEY_ID, now=20.0), time.monotonic() - started)[1], range(8)))
    assert sum(seconds > 0.3 for seconds in took) == 1
    assert len(repository.asked) == 2


def test_a_revoked_key_is_refused_when_its_age_is_over_at_the_latest(authority: Authority) -> None:
    with serving(authority, GOOD) as repository:
        keys = make(authority, repository.url)
        found = keys.find(KEY_ID, now=0.0)
        repository.answer = repositories.keys({})
        assert found.usable_until == 30.0
        assert refusal(keys, now=15.0) == "key-unknown"


def test_a_repository_that_failed_rests_and_is_asked_again_later(authority: Authority) -> None:
    with serving(authority, FAULTS["503"]) as repository:
        keys = make(authority, repository.url)
        assert [refusal(keys, now=now) for now in (0.0, 1.0, 4.9)] == ["key-unavailable"] * 3
        assert len(repository.asked) == 1
        repository.answer = GOOD
        assert keys.find(KEY_ID, now=5.0)


def test_one_bad_key_does_not_put_its_repository_at_rest(authority: Authority) -> None:
    with serving(authority, repositories.keys({**KEYS, "billing/bad": b"no key"})) as repository:
        keys = make(authority, repository.url)
        assert refusal(keys, "billing/bad") == "key-unavailable"
        assert keys.find(KEY_ID, now=0.0)


def test_a_flood_of_names_that_do_not_exist_is_bounded_and_leaves_known_keys_alone(authority: Authority) -> None:
    with serving(authority, GOOD) as repository:
        keys = make(authority, repository.url)
        keys.find(KEY_ID, now=0.0)
        codes = [refusal(keys, f"billing/none-{number}", now=1.0) for number in range(200)]
        assert len(repository.asked) <= UNKNOWN_KEYS
        assert set(codes) == {"key-unknown", "key-unavailable"}
        assert keys.find(KEY_ID, now=16.0).usable_until == 46.0


def test_a_name_that_does_not_exist_is_asked_for_once_in_a_while(authority: Authority) -> None:
    with serving(authority, GOOD) as repository:
        keys = make(authority, repository.url)
        for now in (0.0, 1.0, 4.9, 5.0):
            assert refusal(keys, "billing/none", now=now) == "key-unknown"
        assert len(repository.asked) == 2


@pytest.mark.parametrize(
    "url", ["http://keys.example", "https://", "https://me@keys.example", "https://k.example/?x", "keys.example", ""]
)
def test_a_repository_is_an_https_address(url: str) -> None:
    with pytest.raises(ValueError, match="a key repository is https"):
        HttpsKeys([url])
