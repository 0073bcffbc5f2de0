"""Signature algorithms: RS, PS and ES with SHA-256, 384 and 512 (RFC 7518), on `cryptography`.

The key says which algorithms it can be used with, never the token alone: an RSA key verifies no ES token, and a P-256
key no ES512 token. There is no `none` and no HMAC.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from tenantry_client.asap.refusals import Refused

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192

_HASHES: Final[dict[str, HashAlgorithm]] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_BY_CURVE: Final = {curve: name for name, curve in _CURVES.items()}

ALGORITHMS: Final = frozenset(f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in _HASHES)


class UnusableKey(ValueError):
    """A key that is no PEM, of another kind, or too weak. The text shows nothing of the key."""


class _Check(Protocol):
    def __call__(self, signature: bytes, content: bytes) -> None:
        """Raises InvalidSignature or ValueError."""


class VerifyingKey:
    """A public key of a caller, with the algorithms that it may be used with."""

    def __init__(self, key: PublicKey) -> None:
        self._checks = _checks(key)

    def verify(self, algorithm: str, content: bytes, signature: bytes) -> None:
        """Raises Refused where the signature is not this key's over `content`."""
        check = self._checks.get(algorithm)
        if check is None:
            raise Refused("algorithm-of-another-key", "the algorithm is of another family than the issuer's key")
        try:
            check(signature, content)
        except (InvalidSignature, ValueError):
            raise Refused("signature-invalid", "the signature is not one of the issuer's key") from None


def load_verifying_key(pem: bytes) -> VerifyingKey:
    """The public key in PEM, ready to verify. Raises UnusableKey."""
    return VerifyingKey(load_public_key(pem))


def load_public_key(pem: bytes) -> PublicKey:
    """The public key in PEM. Raises UnusableKey."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKey("the public key is not PEM of a kind that is known") from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise UnusableKey("the public key is neither RSA nor elliptic curve")
    _check_strength(key)
    return key


def load_private_key(pem: bytes) -> PrivateKey:
    """The unencrypted private key in PEM. Raises UnusableKey."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableKey("the private key is not unencrypted PEM of a kind that is known") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise UnusableKey("the private key is neither RSA nor elliptic curve")
    _check_strength(key.public_key())
    return key


def _check_strength(key: PublicKey) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise UnusableKey(f"the RSA key has not {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    elif key.curve.name not in _BY_CURVE:
        raise UnusableKey("the curve is not P-256, P-384 or P-521")


def default_algorithm(key: PrivateKey) -> str:
    """The default algorithm of a signer: RS256, or the one of the key's curve."""
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else _BY_CURVE[key.curve.name]


def fits(algorithm: str, key: PublicKey | PrivateKey) -> bool:
    """Whether the key may be used with the algorithm."""
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return algorithm[:2] in ("RS", "PS") and algorithm in ALGORITHMS
    return _CURVES.get(algorithm) == key.curve.name


def sign(algorithm: str, key: PrivateKey, content: bytes) -> bytes:
    """The signature over `content` in the form of RFC 7518. Raises UnusableKey where key and algorithm differ."""
    if not fits(algorithm, key):
        raise UnusableKey(f"{algorithm} is of another family than the key")
    digest = _HASHES[algorithm[2:]]
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, _padding(algorithm, digest), digest)
    r, s = decode_dss_signature(key.sign(content, ec.ECDSA(digest)))
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _checks(key: PublicKey) -> Mapping[str, _Check]:
    if isinstance(key, ec.EllipticCurvePublicKey):
        name = _BY_CURVE[key.curve.name]
        return {name: partial(_check_ecdsa, key, (key.curve.key_size + 7) // 8, ec.ECDSA(_HASHES[name[2:]]))}
    return {
        f"{family}{bits}": partial(_check_rsa, key, _padding(family, digest), digest)
        for family in ("RS", "PS")
        for bits, digest in _HASHES.items()
    }


def _check_rsa(
    key: rsa.RSAPublicKey,
    padded: padding.AsymmetricPadding,
    digest: HashAlgorithm,
    signature: bytes,
    content: bytes,
) -> None:
    key.verify(signature, content, padded, digest)


def _check_ecdsa(
    key: ec.EllipticCurvePublicKey, size: int, algorithm: ec.ECDSA, signature: bytes, content: bytes
) -> None:
    """A signature of RFC 7518 is r and s, each as long as the curve; nothing else is accepted, DER neither."""
    if len(signature) != 2 * size:
        raise InvalidSignature
    r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    key.verify(encode_dss_signature(r, s), content, algorithm)


def _padding(algorithm: str, digest: HashAlgorithm) -> padding.AsymmetricPadding:
    if algorithm.startswith("RS"):
        return padding.PKCS1v15()
    return padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
