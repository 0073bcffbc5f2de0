"""Tokens that must be refused: each a good token with one thing wrong, and the code of its refusal.

`MUTANTS` is data. `docs/reference/asap-vectors.jsonl` is written from it, so that other implementations can be held
against the same tokens. Times are relative to NOW.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tenantry_client.asap.algorithms import PrivateKey, load_private_key, sign

NOW: Final = 1_800_000_000
AUDIENCE: Final = "context-service"
ISSUER: Final = "billing"
KEY_ID: Final = "billing/2027-01"


def _test_key(name: str) -> PrivateKey:
    """One of the keys beside this file: known to everybody, so that the vectors can be made again, byte for byte."""
    return load_private_key((Path(__file__).parent / "keys" / f"{name}.test.pem").read_bytes())


RSA_KEY: Final = _test_key("rsa")
OTHER_RSA_KEY: Final = _test_key("other-rsa")
EC_KEY: Final = cast(ec.EllipticCurvePrivateKey, _test_key("ec"))
EC_384_KEY: Final = _test_key("ec384")


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


KEYS: Final[Mapping[str, bytes]] = {
    KEY_ID: public_pem(RSA_KEY),
    "billing/ec": public_pem(EC_KEY),
    "billing/ec384": public_pem(EC_384_KEY),
    "billing": public_pem(RSA_KEY),
    "billing-evil/1": public_pem(OTHER_RSA_KEY),
    "support/1": public_pem(OTHER_RSA_KEY),
}
"""What the key source holds: more than it should, so that no test passes for want of a key."""

HEADER: Final[Mapping[str, Any]] = {"alg": "RS256", "kid": KEY_ID, "typ": "JWT"}
CLAIMS: Final[Mapping[str, Any]] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "iat": NOW,
    "exp": NOW + 60,
    "jti": "9f0c5f0a-4a53-4f4e-9f63-0d7f2e6d1c11",
}


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def dumped(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def token(
    header: object = HEADER,
    claims: object = CLAIMS,
    *,
    key: PrivateKey = RSA_KEY,
    algorithm: str | None = None,
    raw_header: bytes | None = None,
    raw_claims: bytes | None = None,
) -> str:
    """A token with that content, signed over exactly these bytes."""
    head = raw_header if raw_header is not None else dumped(header)
    body = raw_claims if raw_claims is not None else dumped(claims)
    named = algorithm or (header.get("alg") if isinstance(header, Mapping) else None) or "RS256"
    signed = f"{b64(head)}.{b64(body)}"
    return f"{signed}.{b64(sign(str(named), key, signed.encode()))}"


def with_header(**changes: Any) -> str:
    merged = {**HEADER, **changes}
    return token({name: value for name, value in merged.items() if value is not ...}, algorithm="RS256")


def with_claims(**changes: Any) -> str:
    merged = {**CLAIMS, **changes}
    return token(claims={name: value for name, value in merged.items() if value is not ...})


def unsigned(algorithm: str) -> str:
    return f"{b64(dumped({**HEADER, 'alg': algorithm}))}.{b64(dumped(CLAIMS))}."


def signed_by_hmac(algorithm: str = "HS256") -> str:
    """The old trick: the public key, which everybody has, used as the secret of an HMAC."""
    signed = f"{b64(dumped({**HEADER, 'alg': algorithm}))}.{b64(dumped(CLAIMS))}"
    mac = hmac.HMAC(KEYS[KEY_ID], hashes.SHA256())
    mac.update(signed.encode())
    return f"{signed}.{b64(mac.finalize())}"


def es256(*, in_der: bool = False) -> str:
    """A good ES256 token, the same each time; its signature as two numbers, or (which is wrong) in DER."""
    signed = f"{b64(dumped({**HEADER, 'alg': 'ES256', 'kid': 'billing/ec'}))}.{b64(dumped(CLAIMS))}"
    der = EC_KEY.sign(signed.encode(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(der)
    return f"{signed}.{b64(der if in_der else r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def swapped(text: str, part: int, replacement: Callable[[str], str]) -> str:
    parts = text.split(".")
    parts[part] = replacement(parts[part])
    return ".".join(parts)


def _flip(text: str) -> str:
    return ("B" if text[0] != "B" else "C") + text[1:]


def _stray_bits(text: str) -> str:
    """The same bytes in another spelling: bits that stand for nothing are set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(text) % 4 in (2, 3)
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    code: str
    text: str = field(repr=False)


GOOD: Final = token()
GOOD_TOKENS: Final[Mapping[str, str]] = {
    "good": GOOD,
    "good, RS384": token({**HEADER, "alg": "RS384"}),
    "good, RS512": token({**HEADER, "alg": "RS512"}),
    "good, ES256": es256(),
    "good, for two audiences": with_claims(aud=["edge", AUDIENCE]),
    "good, of an hour": with_claims(exp=NOW + 3600),
    "good, with nbf and sub": with_claims(nbf=NOW, sub=ISSUER),
    "good, without typ": with_header(typ=...),
}
"""Each the same whenever it is made: their signatures have no random part."""

MUTANTS: Final[tuple[Mutant, ...]] = (
    # -- the form
    Mutant("empty", "token-missing", ""),
    Mutant("one part", "token-malformed", "abc"),
    Mutant("two parts", "token-malformed", GOOD.rpartition(".")[0]),
    Mutant("four parts", "token-malformed", GOOD + ".abc"),
    Mutant("five parts, as an encrypted token has", "token-malformed", GOOD + ".abc.def"),
    Mutant("padding", "token-malformed", GOOD + "="),
    Mutant("a space behind it", "token-malformed", GOOD + " "),
    Mutant("a newline behind it", "token-malformed", GOOD + "\n"),
    Mutant("base64 of the other alphabet", "token-malformed", swapped(GOOD, 2, lambda text: "+/" + text[2:])),
    Mutant("a part that is cut off", "token-malformed", swapped(GOOD, 1, lambda text: text[: len(text) // 4 * 4 - 3])),
    Mutant("stray bits in the signature", "token-malformed", swapped(GOOD, 2, _stray_bits)),
    Mutant("longer than 8 KiB", "token-malformed", with_claims(padding="x" * 8192)),
    Mutant("a header that is no JSON", "token-malformed", token(raw_header=b"{", algorithm="RS256")),
    Mutant("a header that is a list", "token-malformed", token(raw_header=b"[]", algorithm="RS256")),
    Mutant("claims that are no JSON", "token-malformed", token(raw_claims=b"nothing")),
    Mutant("claims that are a text", "token-malformed", token(raw_claims=b'"iss"')),
    Mutant("claims in Latin-1", "token-malformed", token(raw_claims=dumped(CLAIMS)[:-1] + b',"n":"\xe9"}')),
    Mutant("claims with a BOM", "token-malformed", token(raw_claims=b"\xef\xbb\xbf" + dumped(CLAIMS))),
    Mutant("claims with NaN", "token-malformed", token(raw_claims=dumped(CLAIMS)[:-1] + b',"n":NaN}')),
    Mutant(
        "claims in which a key stands twice", "token-malformed", token(raw_claims=b'{"iss":"x",' + dumped(CLAIMS)[1:])
    ),
    Mutant(
        "a header in which alg stands twice",
        "token-malformed",
        token(raw_header=b'{"alg":"none",' + dumped(HEADER)[1:]),
    ),
    Mutant(
        "claims that are nested very deep",
        "token-malformed",
        token(raw_claims=b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}"),
    ),
    # -- the header
    Mutant("alg none without signature", "token-malformed", unsigned("none")),
    Mutant("alg none with a signature", "algorithm-not-allowed", with_header(alg="none")),
    Mutant("alg None", "algorithm-not-allowed", with_header(alg="None")),
    Mutant("alg missing", "algorithm-not-allowed", with_header(alg=...)),
    Mutant("alg in small letters", "algorithm-not-allowed", with_header(alg="rs256")),
    Mutant("alg that is a list", "algorithm-not-allowed", with_header(alg=["RS256"])),
    Mutant("alg EdDSA", "algorithm-not-allowed", with_header(alg="EdDSA")),
    Mutant("HMAC with the public key", "algorithm-not-allowed", signed_by_hmac()),
    Mutant("ES256 said of an RSA key", "algorithm-of-another-key", with_header(alg="ES256")),
    Mutant("RS256 said of a P-256 key", "algorithm-of-another-key", with_header(kid="billing/ec")),
    Mutant("ES256 said of a P-384 key", "algorithm-of-another-key", with_header(alg="ES256", kid="billing/ec384")),
    Mutant("PS256 said of an RS256 signature", "signature-invalid", with_header(alg="PS256")),
    Mutant("RS512 said of an RS256 signature", "signature-invalid", with_header(alg="RS512")),
    Mutant("crit", "header-not-allowed", with_header(crit=["exp"])),
    Mutant("b64 false", "header-not-allowed", with_header(b64=False)),
    Mutant("a key of its own in jwk", "header-not-allowed", with_header(jwk={"kty": "RSA", "n": "AQ", "e": "AQAB"})),
    Mutant("the address of a key in jku", "header-not-allowed", with_header(jku="https://evil.example/keys")),
    Mutant("a certificate in x5c", "header-not-allowed", with_header(x5c=["AA=="])),
    Mutant("typ of another kind", "header-not-allowed", with_header(typ="dpop+jwt")),
    # -- the key id
    Mutant("kid missing", "key-id-invalid", with_header(kid=...)),
    Mutant("kid empty", "key-id-invalid", with_header(kid="")),
    Mutant("kid that is a number", "key-id-invalid", with_header(kid=1)),
    Mutant("kid with ..", "key-id-invalid", with_header(kid="billing/../support/1")),
    Mutant("kid with .", "key-id-invalid", with_header(kid="billing/./2027-01")),
    Mutant("kid with an empty part", "key-id-invalid", with_header(kid="billing//2027-01")),
    Mutant("kid that begins with /", "key-id-invalid", with_header(kid="/billing/2027-01")),
    Mutant("kid that ends with /", "key-id-invalid", with_header(kid="billing/2027-01/")),
    Mutant("kid with an escape", "key-id-invalid", with_header(kid="billing/%2e%2e")),
    Mutant("kid with a query", "key-id-invalid", with_header(kid="billing/2027-01?x=1")),
    Mutant("kid with a letter that is not ASCII", "key-id-invalid", with_header(kid="billing/ключ")),
    Mutant("kid with a digit that is not ASCII", "key-id-invalid", with_header(kid="billing/\uff12\uff10\uff12\uff17")),
    Mutant("kid with a trailing newline", "key-id-invalid", with_header(kid=KEY_ID + "\n")),
    Mutant("kid with NUL", "key-id-invalid", with_header(kid=KEY_ID + "\0")),
    Mutant("kid that is very long", "key-id-invalid", with_header(kid="billing/" + "a" * 300)),
    Mutant("kid equal to the issuer", "key-id-not-of-issuer", with_header(kid=ISSUER)),
    Mutant("kid of another issuer", "key-id-not-of-issuer", with_header(kid="support/1")),
    Mutant("kid of an issuer whose name begins alike", "key-id-not-of-issuer", with_header(kid="billing-evil/1")),
    Mutant("kid that nobody has", "key-unknown", with_header(kid="billing/nobody")),
    # -- the claims
    *(Mutant(f"{name} missing", "claim-missing", with_claims(**{name: ...})) for name in CLAIMS),
    *(Mutant(f"{name} null", "claim-missing", with_claims(**{name: None})) for name in CLAIMS),
    Mutant("iss empty", "claim-invalid", with_claims(iss="")),
    Mutant("iss that is a list", "claim-invalid", with_claims(iss=[ISSUER])),
    Mutant("iss with ..", "key-id-invalid", with_claims(iss="billing/..")),
    Mutant(
        "iss that nobody allows",
        "issuer-not-allowed",
        token({**HEADER, "kid": "support/1"}, {**CLAIMS, "iss": "support"}, key=OTHER_RSA_KEY),
    ),
    Mutant("sub of somebody else", "subject-not-allowed", with_claims(sub="support")),
    Mutant("sub empty", "claim-invalid", with_claims(sub="")),
    Mutant("jti empty", "claim-invalid", with_claims(jti="")),
    Mutant("jti that is a number", "claim-invalid", with_claims(jti=7)),
    Mutant("jti with a newline", "claim-invalid", with_claims(jti="a\nb")),
    Mutant("jti that is very long", "claim-invalid", with_claims(jti="a" * 1000)),
    Mutant("aud empty", "claim-invalid", with_claims(aud="")),
    Mutant("aud an empty list", "claim-invalid", with_claims(aud=[])),
    Mutant("aud a list with a number", "claim-invalid", with_claims(aud=[AUDIENCE, 1])),
    Mutant("aud a list of very many", "claim-invalid", with_claims(aud=[AUDIENCE] * 20)),
    Mutant("aud an object", "claim-invalid", with_claims(aud={AUDIENCE: 1})),
    Mutant("aud of another service", "audience-not-ours", with_claims(aud="edge")),
    Mutant("aud that begins alike", "audience-not-ours", with_claims(aud=AUDIENCE + "-2")),
    Mutant("aud in capitals", "audience-not-ours", with_claims(aud=AUDIENCE.upper())),
    Mutant("iat a text", "claim-invalid", with_claims(iat=str(NOW))),
    Mutant("iat true", "claim-invalid", with_claims(iat=True)),
    Mutant("iat negative", "claim-invalid", with_claims(iat=-1)),
    Mutant("exp a text", "claim-invalid", with_claims(exp=str(NOW + 60))),
    Mutant("exp false", "claim-invalid", with_claims(exp=False)),
    Mutant("exp beyond all times", "claim-invalid", with_claims(exp=10**300)),
    Mutant(
        "exp a very large integer",
        "claim-invalid",
        token(raw_claims=dumped({**CLAIMS, "exp": 0}).replace(b'"exp":0', b'"exp":1' + b"0" * 400)),
    ),
    Mutant("nbf a text", "claim-invalid", with_claims(nbf="now")),
    Mutant("lifetime of an hour and a second", "lifetime-too-long", with_claims(exp=NOW + 3601)),
    Mutant("lifetime of an hour and a moment", "lifetime-too-long", with_claims(exp=NOW + 3600.001)),
    Mutant("lifetime of a year", "lifetime-too-long", with_claims(exp=NOW + 31_536_000)),
    Mutant("lifetime too long, half of it gone", "lifetime-too-long", with_claims(iat=NOW - 1800, exp=NOW + 1801)),
    Mutant("exp before iat", "expires-before-issued", with_claims(iat=NOW + 5, exp=NOW + 1)),
    Mutant("exp equal to iat", "expires-before-issued", with_claims(iat=NOW, exp=NOW)),
    Mutant("exp before nbf", "expires-before-issued", with_claims(nbf=NOW + 61)),
    Mutant("iat in the future", "not-yet-valid", with_claims(iat=NOW + 11, exp=NOW + 60)),
    Mutant(
        "iat in the future, nbf in the past", "not-yet-valid", with_claims(iat=NOW + 11, exp=NOW + 60, nbf=NOW - 60)
    ),
    Mutant("nbf in the future", "not-yet-valid", with_claims(nbf=NOW + 30)),
    Mutant("expired", "expired", with_claims(iat=NOW - 120, exp=NOW - 60)),
    Mutant("expired by the leeway, to the second", "expired", with_claims(iat=NOW - 70, exp=NOW - 10)),
    Mutant("times in milliseconds", "not-yet-valid", with_claims(iat=NOW * 1000, exp=NOW * 1000 + 60)),
    # -- the signature
    Mutant("another key's signature", "signature-invalid", token(key=OTHER_RSA_KEY)),
    Mutant("a signature with a bit flipped", "signature-invalid", swapped(GOOD, 2, _flip)),
    Mutant("a signature that is cut off", "signature-invalid", swapped(GOOD, 2, lambda _: b64(bytes(128)))),
    Mutant(
        "the signature of other claims",
        "signature-invalid",
        swapped(GOOD, 1, lambda _: with_claims(jti="other").split(".")[1]),
    ),
    Mutant("an ES256 signature in DER", "signature-invalid", es256(in_der=True)),
    Mutant("an ES256 signature of zeros", "signature-invalid", swapped(es256(), 2, lambda _: b64(bytes(64)))),
)
