"""The index of streams: which there are, of whom, and up to which position the log is committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class StreamPages(Protocol):
    """Pages through streams."""

    def streams_after(self, kind: str, key: str, limit: int) -> Sequence[str]:
        """The keys of the next streams of a kind (`tenant`, `family` ...), in their order; `""` begins."""


class Intents(Protocol):
    """Finds intents by their position."""

    def advance_mark(self) -> int:
        """Move the high-water mark to what is committed now; the mark, 0 while the log is empty."""

    def started_after(self, position: int) -> Sequence[str]:
        """The streams in which an intent was committed after the position, beyond the mark as well."""


class CustomerTenants(Protocol):
    """Finds the tenants of a customer."""

    def tenants_of(self, customer_id: str) -> Sequence[str]:
        """The tenants of a customer, as committed."""


class ApprovalIndex(Protocol):
    """Finds what awaits approval."""

    def awaiting_approval(self) -> Sequence[str]:
        """The tenants of which the destroy guard holds a change, in the order of their ids."""
