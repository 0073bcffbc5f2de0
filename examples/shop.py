"""Event-sourced shop: an aggregate, a read model and a worker on Tenantry's event store, projections and work queue.

The shop knows nothing of tenants. It brings events, a registry of them, a table and a handler; Tenantry brings the
transaction. An order and the work that follows from it are committed together, or not at all.

    place, cancel ──▶ event + work item ──▶ claim ──▶ charge or refund ──▶ event + end of the lease
                          │                                                   │
                          └─────────────▶ projector ──▶ orders ◀──────────────┘

A worker that is killed after it charged is followed by another one, once its lease is over: the till knows the key.
`python -m examples.shop` tells the story on a PostgreSQL of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial, reduce
from pathlib import Path
from typing import ClassVar, Final, Literal, Protocol

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, select

from adapters.embedded.postgres import EmbeddedPostgres
from application.operator_event import OperatorAct
from application.ports.event_log import EventLog
from application.ports.work_queue import Lease, WorkItem, WorkQueue
from application.transact import transact
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, UsageError
from domain.event import Event, Recorded
from domain.event_registry import EventEntry, EventRegistry
from domain.operator import Operator
from domain.personal import Personal
from examples.store import opened
from projections.base import Change, Projection, Row, Set, rows
from runtime.compose.process import new_id, utc_now

# -- what is true: events, state, decisions ------------------------------------------------------------------------


class OrderPlaced(Event):
    TOPIC: ClassVar[str] = "shop.order-placed"
    order: str
    item: str
    cents: int
    address: Personal  # encrypted in the log, with a key of this order


class OrderPaid(Event):
    TOPIC: ClassVar[str] = "shop.order-paid"
    order: str
    receipt: str


class OrderCancelled(Event):
    TOPIC: ClassVar[str] = "shop.order-cancelled"
    order: str
    reason: str


REGISTRY: Final = EventRegistry(
    [
        EventEntry(OrderPlaced, projected_by=("orders",), subject=lambda event: f"order:{event.order}"),
        EventEntry(OrderPaid, projected_by=("orders",)),
        EventEntry(OrderCancelled, projected_by=("orders",)),
    ]
)


@dataclass(frozen=True)
class Order:
    stream: str
    version: int = 0
    state: Literal["unknown", "placed", "paid", "cancelled"] = "unknown"
    cents: int = 0

    @property
    def key(self) -> str:
        return self.stream.removeprefix("order:")


def evolve(order: Order, recorded: Recorded) -> Order:
    match recorded.event:
        case OrderPlaced(cents=cents):
            return replace(order, version=recorded.version, state="placed", cents=cents)
        case OrderPaid():
            return replace(order, version=recorded.version, state="paid")
        case OrderCancelled():
            return replace(order, version=recorded.version, state="cancelled")
        case _:
            return order


# -- what can be asked for: load, decide, record -------------------------------------------------------------------


class ShopLog(EventLog, WorkQueue, Protocol):
    """The two ports that the shop stands on."""


class Till(Protocol):
    """A foreign service; both do nothing the second time that they are given a key."""

    def charge(self, key: str, cents: int) -> str: ...
    def refund(self, key: str) -> None: ...


class Shop:
    def __init__(self, log: ShopLog) -> None:
        self._log = log

    def place(self, key: str, *, item: str, cents: int, address: str, by: str) -> None:
        self._record(OrderPlaced(order=key, item=item, cents=cents, address=address), of="unknown", by=by)

    def cancel(self, key: str, *, reason: str, by: str) -> None:
        self._record(OrderCancelled(order=key, reason=reason), of="placed", by=by)

    def settle(self, till: Till, *, owner: str) -> int:
        """Charge or refund each order that is due; how many there were."""
        now = utc_now()
        leases = self._log.claim(owner=owner, limit=10, now=now, until=now + timedelta(seconds=30))
        for lease in leases:
            with suppress(Conflict):  # the lease is another worker's by now, and so is the order
                transact(self._log, partial(self._settled, lease, till))
        return len(leases)

    def _settled(self, lease: Lease, till: Till) -> tuple[UnitOfWork, None]:
        """Decided again where the order was cancelled while it was charged: then it is refunded."""
        order = self._order(lease.scope)
        if order.state == "cancelled":
            till.refund(lease.scope)
        if order.state != "placed":
            return UnitOfWork(leases=[lease]), None
        paid = OrderPaid(order=order.key, receipt=till.charge(lease.scope, order.cents))
        return UnitOfWork(events=[recorded(paid, order, lease.owner)], leases=[lease]), None

    def _record(self, event: OrderPlaced | OrderCancelled, *, of: str, by: str) -> None:
        def decide() -> tuple[UnitOfWork, None]:
            order = self._order(f"order:{event.order}")
            if order.state != of:
                raise UsageError(f"order {event.order} is {order.state}: this needs one that is {of}")
            work = WorkItem(order.stream, utc_now())
            return UnitOfWork(events=[recorded(event, order, by)], work_items=[work]), None

        transact(self._log, decide)

    def _order(self, stream: str) -> Order:
        return reduce(evolve, self._log.load({stream: 0}).get(stream, []), Order(stream))


def recorded(event: Event, order: Order, by: str) -> Recorded:
    act = OperatorAct.begun(by=Operator.parse(by), clock=utc_now, new_id=new_id)
    return act.recorded(event, stream=order.stream, version=order.version + 1)


# -- what can be read ----------------------------------------------------------------------------------------------

TABLES: Final = MetaData()
ORDERS: Final = Table(
    "orders",
    TABLES,
    Column("order", Text, primary_key=True),
    Column("item", Text),
    Column("cents", Integer),
    Column("state", Text),
)


def handle(recorded: Recorded) -> Iterator[Change]:
    match recorded.event:
        case OrderPlaced() as event:
            yield Set(ORDERS, (event.order,), {"item": event.item, "cents": event.cents, "state": "placed"})
        case OrderPaid(order=key):
            yield Set(ORDERS, (key,), {"state": "paid"})
        case OrderCancelled(order=key):
            yield Set(ORDERS, (key,), {"state": "cancelled"})
        case _:
            pass


def order_row(connection: Connection, key: str) -> list[Row]:
    return rows(connection, select(ORDERS).where(ORDERS.c.order == key))


PROJECTION: Final = Projection("orders", (ORDERS,), REGISTRY.projected_by("orders"), handle, order_row)


class PaperTill:
    """A till on paper, for the story."""

    def charge(self, key: str, cents: int) -> str:
        return f"receipt {key}: {cents / 100:.2f}"

    def refund(self, key: str) -> None:
        pass


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
        opened(server.url(), master_key=os.urandom(32), registry=REGISTRY, projections=[PROJECTION]) as store,
    ):
        shop = Shop(store.log)
        shop.place("o-1", item="teapot", cents=1995, address="12 Analytical Row", by="Ada")
        shop.place("o-2", item="kettle", cents=4900, address="3 Difference Lane", by="Charles")
        shop.cancel("o-2", reason="changed his mind", by="Charles")
        shop.settle(PaperTill(), owner="worker-1")
        for key in ("o-1", "o-2"):
            sys.stdout.write(f"{store.rows(PROJECTION, key)}\n")


if __name__ == "__main__":
    main()
