"""The SQLAlchemy engines of tenants: one for each product and role, in a bounded LRU, fenced at each checkout.

    engines = TenantEngines(tenancy, "crm", password)
    with engines.engine("t-1").begin() as connection: ...

A connection leaves an engine's pool only when the tenant is open for the product at that moment, whatever keeps the
engine. Engines are for one process: in a forked child they start without connections.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from functools import partial
from typing import Final
from weakref import WeakSet

import sqlalchemy
from sqlalchemy import event

from tenantry_client.context.databases import connect
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.targets import Password, Target, target_of
from tenantry_client.context.tenancy import Tenancy

ENGINES: Final = 100
CONNECTIONS: Final = 4

_all: WeakSet[TenantEngines] = WeakSet()


class TenantEngines:
    """Engines for one product. Safe for threads, and after a fork."""

    def __init__(
        self,
        tenancy: Tenancy,
        product: str,
        password: Password,
        *,
        engines: int = ENGINES,
        connections: int = CONNECTIONS,
    ) -> None:
        """At most `engines` are kept, each with `connections` connections; the longest unused one goes."""
        self._tenancy = tenancy
        self._product = product
        self._password = password
        self._limit = engines
        self._connections = connections
        self._lock = threading.Lock()
        self._engines: OrderedDict[tuple[str, Target], sqlalchemy.Engine] = OrderedDict()
        _all.add(self)

    def engine(self, tenant_id: str, *, at_least: int = 0) -> sqlalchemy.Engine:
        """The engine of the tenant's database. Raises ContextRefused, here and at each checkout."""
        target = target_of(self._tenancy.by_id(tenant_id, at_least), self._product)
        gone: sqlalchemy.Engine | None = None
        with self._lock:
            found = self._engines.get((tenant_id, target))
            if found is None:
                found = self._engines[tenant_id, target] = self._made(tenant_id, target)
            self._engines.move_to_end((tenant_id, target))
            if len(self._engines) > self._limit:
                _, gone = self._engines.popitem(last=False)
        if gone is not None:
            gone.dispose()
        return found

    @property
    def kept(self) -> int:
        """How many engines there are."""
        return len(self._engines)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            engines, self._engines = list(self._engines.values()), OrderedDict()
        for each in engines:
            each.dispose()

    def after_fork(self) -> None:
        """In a child: the connections are the parent's, and are left to it."""
        self._lock = threading.Lock()
        for each in self._engines.values():
            each.dispose(close=False)

    def _made(self, tenant_id: str, target: Target) -> sqlalchemy.Engine:
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://",
            creator=partial(connect, target, self._password),
            pool_size=self._connections,
            max_overflow=0,
            pool_pre_ping=True,
        )

        @event.listens_for(engine, "checkout")
        def look_again(*_: object) -> None:
            if target_of(self._tenancy.by_id(tenant_id), self._product) != target:
                raise ContextRefused("product-not-placed", "the tenant's database is another one by now: ask again")

        return engine


def _after_fork() -> None:
    for each in list(_all):
        each.after_fork()


os.register_at_fork(after_in_child=_after_fork)
