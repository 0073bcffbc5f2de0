"""Refusals of the edge: a code for programs, a sentence for people, and the HTTP status of both.

A sentence repeats nothing of the request: it may come from anybody, and ends in logs.
"""

from __future__ import annotations

from typing import Final

STATUS: Final = {
    "request-ambiguous": 400,
    "header-not-allowed": 400,
    "session-missing": 401,
    "session-malformed": 401,
    "session-invalid": 401,
    "session-expired": 401,
    "session-key-unknown": 401,
    "not-a-member": 403,
    "product-unknown": 404,
    "region-not-served": 421,
    "session-key-unavailable": 503,
    "membership-unavailable": 503,
}


class EdgeRefused(Exception):
    """A request that does not pass. Codes of the tenant context (`tenant_client.context.refusals`) are passed on."""

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code: Final = code
        self.status: Final = status or STATUS[code]
