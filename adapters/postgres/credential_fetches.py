"""Record of credential fetches: which service was given the password of which login role, and when; never the password.

The table is append-only: a trigger of it refuses every change (alembic/versions/0020).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.rows import class_row

from adapters.postgres.connection import connect
from adapters.postgres.errors import answering
from adapters.postgres.sessions import Sessions


@dataclass(frozen=True, slots=True)
class CredentialFetch:
    """One fetch. `token_id` is the `jti` of the caller's token."""

    at: datetime
    caller: str
    tenant_id: str
    product: str
    role: str
    generation: int
    rotation: int
    token_id: str


class CredentialFetches:
    """Writes and reads the record. Safe for threads."""

    def __init__(self, url: str) -> None:
        self._pool = Sessions(lambda: connect(url, autocommit=True), keep=2)

    def close(self) -> None:
        self._pool.close()

    def record(self, fetch: CredentialFetch) -> None:
        """Committed when this returns. Raises Unavailable."""
        with answering("the control database"), self._pool() as connection:
            connection.execute(
                "INSERT INTO credential_fetches (at, caller, tenant_id, product, role, generation, rotation, token_id)"
                " VALUES (%(at)s, %(caller)s, %(tenant_id)s, %(product)s, %(role)s, %(generation)s, %(rotation)s,"
                " %(token_id)s)",
                asdict(fetch),
            )

    def latest(self, *, tenant_id: str | None = None, limit: int = 100) -> list[CredentialFetch]:
        """The last of them, of one tenant or of all, the newest first."""
        query = (
            "SELECT at, caller, tenant_id, product, role, generation, rotation, token_id FROM credential_fetches"
            " WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s ORDER BY number DESC LIMIT %(limit)s"
        )
        with answering("the control database"), self._pool() as connection:
            cursor = connection.cursor(row_factory=class_row(CredentialFetch))
            return cursor.execute(query, {"tenant": tenant_id, "limit": limit}).fetchall()
