"""Budget of an export of the log: few events go out freely, more only under a grant.

The log's personal fields stay encrypted in an export, but who is whose customer since when is in it. So beyond a bound
an operator needs a grant, and the log keeps the reason. A reader of the database can read the log: the bound is
against a habit and a slip, and leaves a trail; it is no lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from application.export_grants import ExportGrants
from application.ports.export_budgets import Amounts
from domain.errors import UsageError, problem
from domain.export_grants import ExportRequest

WHAT: Final = "audit-log"
"""The name of this data in grants."""


class ExportBudget(Protocol):
    """What an export may still write."""

    def spend(self, rows: int, size: int) -> None:
        """Before so many events of so many bytes are written. Raises UsageError where they may not be."""


class Unlimited:
    """For programs that have their own bound."""

    def spend(self, rows: int, size: int) -> None:
        """Everything may be written."""


@dataclass(slots=True)
class WithoutGrant:
    """At most `most` events."""

    most: int
    grantee: str
    written: int = 0

    def spend(self, rows: int, size: int) -> None:  # noqa: ARG002 - bytes are not counted here
        self.written += rows
        if self.written > self.most:
            raise UsageError(problem("export-needs-grant", most=self.most, grantee=self.grantee, what=WHAT))


@dataclass(frozen=True, slots=True)
class UnderGrant:
    """What is left of a grant; each page is taken of it before it is written."""

    grants: ExportGrants
    request: ExportRequest

    def spend(self, rows: int, size: int) -> None:
        asked = Amounts(rows, size)
        chunk = self.grants.take(self.request, asked)
        if chunk.amounts != asked:
            self.grants.budgets.give_back(self.request.grant_id, chunk.id, chunk.amounts)
            raise UsageError(
                problem("export-exceeds-grant", grant=self.request.grant_id, what=WHAT, grantee=self.request.grantee)
            )
