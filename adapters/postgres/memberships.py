"""Memberships of accounts: whether a user may use a product of a tenant, from the read model `identities`.

A read model is behind the log. What is asked here is answered as of the moment of the question, or not at all: the
first look reads the greatest position that was committed by then, and the answer counts once the tenant's bucket of the
projection has passed it. A projection that is halted, or a projector that is gone, is no answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from adapters.postgres.connection import Limits, connect
from adapters.postgres.sessions import Sessions
from domain.errors import TenantryError, Unavailable, problem

KEPT: Final = 4
WAIT_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 0.02
_LIMITS: Final = Limits(statement=2.0, lock=1.0, idle_in_transaction=2.0)


class PostgresMemberships:
    """Asks the control database. For many threads."""

    def __init__(self, url: str, *, wait: float = WAIT_SECONDS, sleep: Callable[[float], None] = time.sleep) -> None:
        """`wait`: seconds that a question waits for a read model that is behind."""
        self._sessions = Sessions(lambda: connect(url, autocommit=True, limits=_LIMITS), keep=KEPT)
        self._wait = wait
        self._sleep = sleep

    def is_member(self, tenant_id: str, product: str, account_id: str) -> bool:
        """Whether the account has a permission in force. Raises Unavailable."""
        until = time.monotonic() + self._wait
        needed: int | None = None
        while True:
            committed, position, is_member = self._look(tenant_id, product, account_id)
            needed = committed if needed is None else needed
            if position is not None and position >= needed:
                return is_member
            if time.monotonic() >= until:
                raise Unavailable(problem("memberships-behind"), why="behind")
            self._sleep(PAUSE_SECONDS)

    def close(self) -> None:
        self._sessions.close()

    def _look(self, tenant_id: str, product: str, account_id: str) -> tuple[int, int | None, bool]:
        with self._sessions() as session:
            row = session.execute(_LOOK, {"tenant": tenant_id, "product": product, "account": account_id}).fetchone()
        if row is None:
            raise TenantryError(problem("database-no-row"))
        committed, position, is_member = row
        return int(committed), None if position is None else int(position), bool(is_member)


# One statement sees one moment: what the answer says, and how far the read model was.
_LOOK: Final = """
SELECT (SELECT coalesce(max(notification_id), 0) FROM stored_events),
    (SELECT position FROM projection_positions WHERE name = 'identities' AND bucket = (
        hashtextextended(%(tenant)s, 0) & ((SELECT count(*) FROM projection_positions WHERE name = 'identities') - 1)
    )),
    EXISTS (
        SELECT FROM identity_memberships JOIN identity_permissions USING (tenant_id, product, group_name)
        WHERE tenant_id = %(tenant)s AND product = %(product)s AND account_id = %(account)s
    )
"""
