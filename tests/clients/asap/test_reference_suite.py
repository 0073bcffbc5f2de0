"""The verifier tests of the Python reference library, run against our verifier.

They come from the installed package and are run as they are; only the verifier that they make is replaced, by an
adapter that speaks the library's interface. The adapter translates how a refusal is said, never whether there is one.
"""

from __future__ import annotations

import unittest
from typing import Any, Never

import pytest

from tenantry_client.asap import LocalReplays, Refused, Verifier
from tenantry_client.asap.public_keys import FixedKeys

jwt = pytest.importorskip("jwt", reason="atlassian-jwt-auth is not installed")
exceptions = pytest.importorskip("atlassian_jwt_auth.exceptions", reason="atlassian-jwt-auth is not installed")
suite = pytest.importorskip("atlassian_jwt_auth.tests.test_verifier", reason="atlassian-jwt-auth ships no tests")

REPLACES_A_PART_OF_THE_LIBRARY = {
    "test_verify_jwt_with_non_matching_sub_and_iss",
    "test_verify_jwt_with_jwt_lasting_gt_max_time",
    "test_verify_jwt_with_missing_aud_claim",
}
"""These replace `jwt.decode`, which we do not call; test_what_those_three_mean has their cases with real tokens."""

ISSUER = "egissuer"
KEY_ID = f"{ISSUER}/a"


class OurVerifier:
    """Our verifier under the interface of `JWTAuthVerifier`."""

    def __init__(
        self, retriever: Any, *, check_jti_uniqueness: bool = False, subject_should_match_issuer: bool = True
    ) -> None:
        self._pem: str = retriever.retrieve("any")
        self._once = check_jti_uniqueness
        self._subjects = () if subject_should_match_issuer else (f"not-{ISSUER}",)
        self._replays = LocalReplays()

    def verify_jwt(self, a_jwt: str | bytes, audience: str) -> dict[str, Any]:
        keys = FixedKeys({name: self._pem.encode() for name in (KEY_ID, "issuerx")})
        verifier = Verifier(
            audience, keys, may_call=lambda _: True, replays=self._replays, other_subjects=self._subjects, leeway=0
        )
        try:
            text = a_jwt.decode() if isinstance(a_jwt, bytes) else a_jwt
            return dict(verifier.verify(text, once=self._once).claims)
        except Refused as refused:
            _say_as_the_library_does(refused)


def _say_as_the_library_does(refused: Refused) -> Never:
    match refused.code:
        case "algorithm-not-allowed" | "token-malformed":  # `none` has no signature, which we notice first
            raise jwt.exceptions.InvalidAlgorithmError(str(refused)) from refused
        case "key-id-not-of-issuer":
            raise ValueError("Issuer does not own the supplied public key") from refused
        case "subject-not-allowed":
            raise exceptions.SubjectDoesNotMatchIssuerException("Issuer does not match the subject.") from refused
        case "token-repeated":
            raise exceptions.JtiUniquenessException("The jti has already been used.") from refused
        case "audience-not-ours" | "claim-missing":
            raise jwt.exceptions.InvalidAudienceError(str(refused)) from refused
        case _:
            raise refused


def _cases(base: type[Any]) -> list[unittest.TestCase]:
    class Ours(base):  # type: ignore[misc]
        def _setup_jwt_auth_verifier(self, pub_key_pem: bytes, **options: bool) -> OurVerifier:
            return OurVerifier(self._setup_mock_public_key_retriever(pub_key_pem), **options)

    names = set(unittest.defaultTestLoader.getTestCaseNames(Ours)) - REPLACES_A_PART_OF_THE_LIBRARY
    return [Ours(name) for name in sorted(names)]


CASES = [*_cases(suite.JWTAuthVerifierRS256Test), *_cases(suite.JWTAuthVerifierES256Test)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.algorithm}-{case.id().rpartition('.')[2]}")
def test_our_verifier_passes_the_test_of_the_library(case: unittest.TestCase) -> None:
    result = unittest.TestResult()
    case.run(result)
    assert result.testsRun == 1
    assert not result.skipped
    assert not (result.errors + result.failures), (result.errors + result.failures)[0][1]


def test_none_of_the_library_s_tests_is_left_out_but_three() -> None:
    every = unittest.defaultTestLoader.getTestCaseNames(suite.JWTAuthVerifierRS256Test)
    assert len(CASES) == 2 * (len(every) - len(REPLACES_A_PART_OF_THE_LIBRARY))
    assert set(every) >= REPLACES_A_PART_OF_THE_LIBRARY
    assert len(CASES) >= 20


@pytest.mark.parametrize("base", [suite.JWTAuthVerifierRS256Test, suite.JWTAuthVerifierES256Test])
def test_what_those_three_mean(base: type[Any]) -> None:
    case = _cases(base)[0]
    case.setUp()
    signer, pem = case._jwt_auth_signer, case._public_key_pem  # type: ignore[attr-defined]  # noqa: SLF001
    verifier = case._setup_jwt_auth_verifier(pem)  # type: ignore[attr-defined]  # noqa: SLF001
    claims = signer._generate_claims("aud_x")  # noqa: SLF001
    headers = {"kid": KEY_ID}
    key = case._private_key_pem  # type: ignore[attr-defined]  # noqa: SLF001

    def signed(changes: dict[str, Any], without: str | None = None) -> str:
        content = {name: value for name, value in {**claims, **changes}.items() if name != without}
        return str(jwt.encode(content, key, algorithm=case.algorithm, headers=headers))  # type: ignore[attr-defined]

    with pytest.raises(ValueError, match="Issuer does not match the subject"):
        verifier.verify_jwt(signed({"sub": ISSUER[::-1]}), "aud_x")
    with pytest.raises(jwt.exceptions.InvalidAudienceError):
        verifier.verify_jwt(signed({}, without="aud"), "aud_x")
    with pytest.raises(Refused, match="lives longer than"):
        verifier.verify_jwt(signed({"iat": claims["exp"].timestamp() - 61 * 60}), "aud_x")
