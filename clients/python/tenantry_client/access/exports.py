"""Exports: bulk reads under a grant, row by row from a server-side cursor (psycopg), counted in rows and bytes.

    take a chunk of the grant ─▶ FETCH that many rows at most ─▶ hand them out, each counted ─▶ the next chunk
                                     at the end the rest goes back; after a kill it stays spent

A row is counted before it is handed out, so no program gets more than was granted, however many of them export under
one grant. Where the grant gives no more, `ExportRefused` ends the export with the code of the reason: what was handed
out until then is not the whole, and must not be taken for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

import msgspec

from tenantry_client.access.rates import CoordinatorUnavailable

if TYPE_CHECKING:
    import psycopg

CHUNK_ROWS: Final = 2_000
CHUNK_BYTES: Final = 4 * 1024 * 1024
USED_UP: Final = "export-budget-used-up"


class ExportChunk(msgspec.Struct, frozen=True):
    """A part of a grant, taken ahead."""

    chunk_id: str
    rows: int
    bytes: int


class ExportRefused(Exception):
    """The grant does not give this, or no more: `code` for programs, such as `export-budget-used-up`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code: Final = code


class GrantCoordinator(Protocol):
    """Gives chunks of grants, as `LimitsService` does."""

    def take(self, grant_id: str, *, what: str, tenant_id: str | None, rows: int, size: int) -> ExportChunk:
        """Raises ExportRefused, CoordinatorUnavailable."""

    def give_back(self, grant_id: str, chunk: ExportChunk, *, rows: int, size: int) -> None:
        """What was not used. Raises CoordinatorUnavailable."""


@dataclass(frozen=True, slots=True)
class Export:
    """One kind of data that may be exported under one grant, of one tenant or of all."""

    coordinator: GrantCoordinator
    grant_id: str
    what: str
    tenant_id: str | None = None
    chunk_rows: int = CHUNK_ROWS
    chunk_bytes: int = CHUNK_BYTES

    def rows(
        self,
        connection: psycopg.Connection[Any],
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
    ) -> Iterator[Any]:
        """The rows of the query. Raises ExportRefused, CoordinatorUnavailable, psycopg.Error."""
        budget = _Budget(self)
        try:
            with connection.cursor(name=f"export_{uuid4().hex}") as cursor:
                cursor.execute(query, parameters)
                budget.renew(0)
                while rows := cursor.fetchmany(min(budget.rows, self.chunk_rows)):
                    result = cursor.pgresult
                    assert result is not None
                    for number, row in enumerate(rows):
                        budget.spend(
                            sum(len(result.get_value(number, field) or b"") for field in range(result.nfields))
                        )
                        yield row
                    if not budget.rows:
                        budget.renew(0)
        finally:
            budget.settle()


class _Budget:
    """The chunk in hand, and what is left of it."""

    def __init__(self, export: Export) -> None:
        self._export = export
        self._chunk: ExportChunk | None = None
        self.rows = 0
        self.bytes = 0

    def spend(self, size: int) -> None:
        """One row. Raises ExportRefused, CoordinatorUnavailable."""
        if self.rows < 1 or size > self.bytes:
            self.renew(size)
            if size > self.bytes:
                raise ExportRefused(USED_UP, f"the next row has {size} bytes, and {self.bytes} are left of the grant")
        self.rows -= 1
        self.bytes -= size

    def renew(self, size: int) -> None:
        """Another chunk, which has so many bytes if the grant has them."""
        self.settle()
        export = self._export
        self._chunk = export.coordinator.take(
            export.grant_id,
            what=export.what,
            tenant_id=export.tenant_id,
            rows=export.chunk_rows,
            size=max(export.chunk_bytes, size),
        )
        self.rows, self.bytes = self._chunk.rows, self._chunk.bytes

    def settle(self) -> None:
        """Give the rest back; where nobody takes it, it stays spent."""
        chunk, self._chunk = self._chunk, None
        if chunk is not None and (self.rows or self.bytes):
            with suppress(CoordinatorUnavailable):
                self._export.coordinator.give_back(self._export.grant_id, chunk, rows=self.rows, size=self.bytes)
        self.rows = self.bytes = 0
