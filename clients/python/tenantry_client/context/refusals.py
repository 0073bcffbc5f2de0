"""Refusals of the tenant context: a code for programs, a sentence for people, and the HTTP status of both."""

from __future__ import annotations

from typing import Final

STATUS: Final = {
    "host-invalid": 400,
    "freshness-token-invalid": 400,
    "position-not-drawn": 400,
    "tenant-closed": 403,
    "product-closed": 403,
    "product-not-placed": 403,
    "feature-not-licensed": 403,
    "database-refused": 403,
    "credentials-refused": 403,
    "tenant-unknown": 404,
    "host-unknown": 404,
    "credentials-unavailable": 503,
    "lease-expired": 503,
    "not-fresh-enough": 503,
    "tenant-halted": 503,
    "context-unreadable": 503,
}


class ContextRefused(Exception):
    """A look-up, or a use of what it found, that is not allowed. `code` is a key of STATUS."""

    def __init__(self, code: str, message: str, *, position: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.position = position

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return STATUS[self.code]
