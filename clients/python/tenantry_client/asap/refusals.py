"""Refusals of a service token: one code for each reason, the HTTP answer that goes with it.

A refusal never repeats the content of the token: any caller can send one, and refusals are logged.
"""

from __future__ import annotations

from typing import Final, Literal

Code = Literal[
    "token-missing",
    "token-malformed",
    "header-not-allowed",
    "algorithm-not-allowed",
    "algorithm-of-another-key",
    "key-id-invalid",
    "key-id-not-of-issuer",
    "issuer-not-allowed",
    "claim-missing",
    "claim-invalid",
    "lifetime-too-long",
    "expires-before-issued",
    "not-yet-valid",
    "expired",
    "audience-not-ours",
    "subject-not-allowed",
    "key-unknown",
    "key-unavailable",
    "signature-invalid",
    "token-repeated",
    "replay-record-unavailable",
]
"""Why a token is refused; stable names that programs may test for."""

CODES: Final[tuple[str, ...]] = Code.__args__  # type: ignore[attr-defined]


class Refused(Exception):
    """A token was refused: `code` for programs, `str(error)` one line for people, `status` for HTTP.

    `key-unavailable` and `replay-record-unavailable` are faults of the verifying service, and the caller may try again:
    503. All others are 401.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Final = code

    @property
    def status(self) -> int:
        return 503 if self.code in ("key-unavailable", "replay-record-unavailable") else 401

    @property
    def www_authenticate(self) -> str:
        """The value of `WWW-Authenticate` (RFC 6750 names, the code as our own parameter)."""
        error = "invalid_request" if self.code == "token-missing" else "invalid_token"
        return f'Bearer realm="asap", error="{error}", error_description="{self}", code="{self.code}"'
