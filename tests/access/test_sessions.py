"""Sessions and the JWK sets of their issuers: what is believed, for how long, and what a flood of names costs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from access.edge.jwks import JwkSet, from_file, from_https, read_jwks, write_jwks
from access.edge.local_issuer import LocalIssuer
from access.edge.refusals import EdgeRefused
from access.edge.sessions import Issuer, Place, SessionVerifier
from access.edge.settings import SessionIssuer
from tenantry_client.asap.algorithms import PublicKey
from tenantry_client.asap.refusals import Refused
from tenantry_client.asap.tokens import encode, write
from tests.clients.asap import repositories
from tests.clients.asap.mutation import another_letter, flipped_bit

NOW = 1_800_000_000.0


@dataclass
class World:
    """An issuer, its JWK set as it is served, and two clocks that stand still."""

    now: float = NOW
    ticks: float = 100.0
    loads: int = 0
    is_away: bool = False
    issuer: LocalIssuer = field(init=False)

    def __post_init__(self) -> None:
        self.issuer = LocalIssuer("https://id.example", "edge", clock=lambda: self.now)

    def load(self) -> bytes:
        self.loads += 1
        if self.is_away:
            raise OSError("away")
        return self.issuer.jwks()

    def sessions(self, place: Place = "cookie") -> SessionVerifier:
        settings = SessionIssuer(issuer="https://id.example", audience="edge", jwks="x", carried_in=place)
        keys = JwkSet(self.load, max_age=300, pause=5)
        return SessionVerifier([Issuer(settings, keys)], clock=lambda: self.now, monotonic=lambda: self.ticks)


@pytest.fixture
def world() -> World:
    return World()


def code(sessions: SessionVerifier, token: str, place: Place = "cookie") -> str:
    with pytest.raises(EdgeRefused) as refused:
        sessions.verify(token, place)
    return refused.value.code


def test_a_session_is_believed_until_it_ends(world: World) -> None:
    sessions, token = world.sessions(), world.issuer.session("ada", lifetime=600)
    assert sessions.verify(token, "cookie").account_id == "ada"
    assert sessions.remembered(token, "cookie") is not None
    world.now += 599
    assert sessions.verify(token, "cookie").account_id == "ada"
    world.now += 1
    assert sessions.remembered(token, "cookie") is None
    assert code(sessions, token) == "session-expired"


def test_a_remembered_session_does_not_count_in_another_place(world: World) -> None:
    sessions, token = world.sessions(), world.issuer.session("ada")
    sessions.verify(token, "cookie")
    assert sessions.remembered(token, "authorization") is None
    assert code(sessions, token, "authorization") == "session-invalid"


@pytest.mark.parametrize("bits", [None, 2048])
def test_elliptic_and_rsa_keys_are_believed(world: World, bits: int | None) -> None:
    world.issuer.rotate("other", rsa_bits=bits)
    assert world.sessions().verify(world.issuer.session("ada"), "cookie").account_id == "ada"


def test_none_of_two_thousand_mutated_sessions_is_believed(world: World) -> None:
    sessions, token = world.sessions(), world.issuer.session("ada")
    sessions.verify(token, "cookie")
    random = Random(17)  # noqa: S311 - the same ones each time
    for number in range(2_000):
        other = (flipped_bit, another_letter)[number % 2](token, random)
        if other != token:
            with pytest.raises(EdgeRefused):
                sessions.verify(other, "cookie")


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": "local-1"},
        {"alg": "HS256", "kid": "local-1"},
        {"alg": "ES384", "kid": "local-1"},
        {"alg": "RS256", "kid": "local-1"},
        {"alg": "ES256"},
        {"alg": "ES256", "kid": ""},
        {"alg": "ES256", "kid": 1},
        {"alg": "ES256", "kid": "local-1", "crit": ["exp"]},
        {"alg": "ES256", "kid": "local-1", "typ": "at+jwt"},
        {"alg": "ES256", "kid": "../local-1"},
    ],
)
def test_a_header_that_asks_for_something_else_is_refused(world: World, header: dict[str, object]) -> None:
    _, body, signature = world.issuer.session("ada").split(".")
    assert code(world.sessions(), f"{write(header)}.{body}.{signature}").startswith("session-")


def test_a_key_in_the_header_of_the_token_itself_is_not_believed(world: World) -> None:
    other = LocalIssuer("https://id.example", "edge", clock=lambda: world.now)
    token = other.session("ada")
    assert code(world.sessions(), token) == "session-invalid"


def test_a_new_key_is_found_when_its_first_session_comes_and_an_old_one_ends_with_the_set(world: World) -> None:
    sessions, before = world.sessions(), world.issuer.session("ada")
    sessions.verify(before, "cookie")
    world.issuer.rotate("local-2")
    world.ticks += 6
    assert sessions.verify(world.issuer.session("eve"), "cookie").account_id == "eve"
    world.ticks += 301
    assert code(sessions, before) == "session-key-unknown"


def test_a_flood_of_names_loads_the_set_once_in_five_seconds(world: World) -> None:
    sessions = world.sessions()
    _, body, signature = world.issuer.session("ada").split(".")
    for number in range(500):
        head = write({"alg": "ES256", "kid": f"x{number}"})
        assert code(sessions, f"{head}.{body}.{signature}") == "session-key-unknown"
    assert world.loads == 1


def test_an_issuer_that_is_away_costs_nothing_until_its_set_is_too_old(world: World) -> None:
    sessions, token = world.sessions(), world.issuer.session("ada", lifetime=3_000)
    sessions.verify(token, "cookie")
    world.is_away = True
    world.ticks += 299
    assert sessions.verify(token, "cookie").account_id == "ada"
    world.ticks += 2
    assert code(sessions, token) == "session-key-unavailable"
    world.is_away = False
    world.ticks += 6
    assert sessions.verify(token, "cookie").account_id == "ada"


def test_the_memory_of_sessions_is_bounded(world: World) -> None:
    settings = SessionIssuer(issuer="https://id.example", audience="edge", jwks="x", carried_in="cookie")
    sessions = SessionVerifier([Issuer(settings, JwkSet(world.load))], clock=lambda: world.now, remembered=3)
    tokens = [world.issuer.session(f"a-{number}") for number in range(5)]
    for token in tokens:
        sessions.verify(token, "cookie")
    assert [sessions.remembered(token, "cookie") is not None for token in tokens] == [False, False, True, True, True]


# -- JWK sets


def test_a_set_comes_back_as_it_was_written() -> None:
    keys: dict[str, PublicKey] = {
        "rsa": rsa.generate_private_key(65537, 2048).public_key(),
        **{
            name: ec.generate_private_key(curve).public_key()
            for name, curve in (("a", ec.SECP256R1()), ("b", ec.SECP521R1()))
        },
    }
    assert read_jwks(write_jwks(keys)).keys() == keys.keys()


def test_keys_that_cannot_be_used_are_left_out() -> None:
    good = json.loads(write_jwks({"good": ec.generate_private_key(ec.SECP256R1()).public_key()}))["keys"][0]
    weak = json.loads(write_jwks({"weak": _weak()}))["keys"][0]
    others = [
        weak,
        {**good, "kid": "for encryption", "use": "enc"},
        {**good, "kid": "off the curve", "x": encode(b"\1" * 32)},
        {**good, "kid": "of another curve", "crv": "secp256k1"},
        {"kty": "oct", "kid": "a secret", "k": "AAAA"},
        {"kty": "RSA", "kid": "halved", "n": "AQAB"},
        {**good, "kid": 7},
        {**good, "kid": "no text", "x": 7},
        {**good, "kid": "no base64", "x": "ä="},
        "nothing",
    ]
    assert set(read_jwks(json.dumps({"keys": [good, *others]}).encode())) == {"good"}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"keys": 1}', b"\xff"])
def test_what_is_no_set_is_no_answer(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(content)
    with pytest.raises(Refused) as refused:
        JwkSet(from_file(tmp_path / "jwks.json")).find("x", now=0)
    assert refused.value.code == "key-unavailable"
    with pytest.raises(Refused):
        JwkSet(from_file(tmp_path / "none.json")).find("x", now=0)


# -- over HTTPS


@pytest.fixture
def https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[repositories.Repository]:
    authority = repositories.Authority.make(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    with repositories.serving(authority, repositories.silent) as served:
        yield served


def test_a_set_is_had_by_https(https: repositories.Repository, world: World) -> None:
    https.answer = repositories.always(repositories.response(200, world.issuer.jwks()))
    settings = SessionIssuer(issuer="https://id.example", audience="edge", jwks=https.url, carried_in="cookie")
    sessions = SessionVerifier([Issuer(settings, JwkSet(from_https(https.url)))], clock=lambda: world.now)
    assert sessions.verify(world.issuer.session("ada"), "cookie").account_id == "ada"


@pytest.mark.parametrize(
    "answer",
    [
        repositories.always(repositories.response(500, b"")),
        repositories.always(repositories.response(302, b"", more="location: /other\r\n")),
        repositories.always(repositories.response(200, b"x" * 300_000)),
        repositories.always(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx"),
        repositories.always(b"rubbish\r\n\r\n"),
        repositories.silent,
        repositories.silent_in_the_handshake,
        repositories.drips,
    ],
    ids=lambda each: getattr(each, "__name__", "content"),
)
def test_an_issuer_that_misbehaves_is_no_answer_and_takes_no_longer_than_it_may(
    https: repositories.Repository, answer: repositories.Answer
) -> None:
    https.answer = answer
    started = time.monotonic()
    with pytest.raises(Refused) as refused:
        JwkSet(from_https(https.url, seconds=0.5)).find("x", now=0)
    assert refused.value.code == "key-unavailable"
    assert time.monotonic() - started < 2.5


def test_an_issuer_of_another_authority_is_not_believed(
    https: repositories.Repository, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    https.answer = repositories.always(repositories.response(200, world.issuer.jwks()))
    with pytest.raises(OSError, match="certificate verify failed"):
        from_https(https.url)()


def _weak() -> rsa.RSAPublicKey:
    return rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - it is to be refused
