"""Comparison with commerce: where a whole dump of commerce differs from the desired state, line by line.

Both sides come in the order of their ids, so that what only we have is found between two lines. Some lines are read
from the log together; nothing else of either side is kept in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from heapq import merge
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from application.ports.event_log import EventStreams
from application.ports.inbox import Inbox
from application.ports.stream_index import StreamPages
from domain import customer as customers
from domain.commerce_dump import (
    CommerceDifference,
    CustomerLine,
    DumpBegins,
    Line,
    TenantLine,
    compare_customer,
    compare_tenant,
    is_newer,
)
from domain.customer import Customer
from domain.scope.snapshot import TenantSnapshot

TOGETHER: Final = 200
"""Tenants, or customers, that are read from the log together."""


@dataclass(slots=True)
class Comparison:
    """What a comparison has come to so far."""

    customers: int = 0
    tenants: int = 0
    found: Counter[str] = field(default_factory=Counter)


L = TypeVar("L")


@dataclass(slots=True)
class _Side(Generic[L]):
    """The lines of one kind beside our own ids, both in their order, some at a time."""

    ours: Iterator[str]
    id_of: Callable[[L], str]
    compared: Callable[[Mapping[str, L], Sequence[str], datetime], Iterator[CommerceDifference]]
    lines: dict[str, L] = field(default_factory=dict)
    ahead: str | None = None
    """The next of our own ids, which was read and not dealt with."""

    def add(self, line: L, as_of: datetime) -> Iterator[CommerceDifference]:
        """One line more; what is found once there are enough of them."""
        self.lines[self.id_of(line)] = line
        return self._flushed(as_of) if len(self.lines) == TOGETHER else iter(())

    def rest(self, as_of: datetime) -> Iterator[CommerceDifference]:
        """What is left when the last line was read: of theirs, then of ours."""
        if self.lines:
            yield from self._flushed(as_of)
        while ids := list(islice(self._upto(None), TOGETHER)):
            yield from self.compared({}, ids, as_of)

    def _flushed(self, as_of: datetime) -> Iterator[CommerceDifference]:
        """The lines that were kept; what only we have between them comes in pages of its own size at most."""
        lines, self.lines = self.lines, {}
        ids = merge(lines, (id_ for id_ in self._upto(max(lines)) if id_ not in lines))
        while page := list(islice(ids, TOGETHER)):
            yield from self.compared(lines, page, as_of)

    def _upto(self, last: str | None) -> Iterator[str]:
        """Our ids up to that one, or all that are left."""
        while (id_ := self.ahead or next(self.ours, None)) is not None:
            if last is not None and id_ > last:
                self.ahead = id_
                return
            self.ahead = None
            yield id_


class ComparedLog(EventStreams, Inbox, StreamPages, Protocol):
    """What the comparison reads."""


@dataclass(frozen=True, slots=True)
class CommerceComparison:
    """`snapshots` gives tenants as committed now."""

    log: ComparedLog
    snapshots: Callable[[Iterable[str]], Mapping[str, TenantSnapshot]]

    def compare(self, lines: Iterator[Line], comparison: Comparison) -> Iterator[CommerceDifference]:
        """Every difference, as the lines come. They are in the order of their ids, each kind for itself (the reader of
        the dump sees to that), so that what only we have is found between them."""
        begins = next(lines)
        assert isinstance(begins, DumpBegins)
        tenants = _Side[TenantLine](self._ours("tenant"), lambda line: line.tenant_id, self._tenants)
        known = _Side[CustomerLine](self._ours("customer"), lambda line: line.customer_id, self._customers)
        for line in lines:
            match line:
                case TenantLine():
                    comparison.tenants += 1
                    found = tenants.add(line, begins.as_of)
                case CustomerLine():
                    comparison.customers += 1
                    found = known.add(line, begins.as_of)
                case _:
                    continue
            yield from _counted(found, comparison)
        yield from _counted(known.rest(begins.as_of), comparison)
        yield from _counted(tenants.rest(begins.as_of), comparison)

    def _ours(self, kind: str) -> Iterator[str]:
        last = ""
        while page := self.log.streams_after(kind, last, TOGETHER):
            yield from page
            last = page[-1]

    def _tenants(
        self, lines: Mapping[str, TenantLine], ids: Sequence[str], as_of: datetime
    ) -> Iterator[CommerceDifference]:
        snapshots = self.snapshots(ids)
        for id_ in ids:
            tenant = snapshots[id_].tenant
            if id_ in lines:
                yield from self._hinted(compare_tenant(lines[id_], tenant, as_of=as_of))
            elif tenant.exists and tenant.destroyed is None and not is_newer(tenant.origin, as_of):
                yield CommerceDifference("extra", id_, f"tenant {id_}", "alive here, and commerce does not have it")

    def _hinted(self, found: Iterator[CommerceDifference]) -> Iterator[CommerceDifference]:
        """With what is said of a tenant whose messages wait for its creation."""
        for difference in found:
            tenant_id = difference.tenant_id
            is_unknown = difference.kind == "missing" and difference.what == f"tenant {tenant_id}"
            waiting = self.log.waiting([tenant_id]).get(tenant_id) if is_unknown and tenant_id else None
            text = f"its tenant.created was lost: {len(waiting)} messages wait for it" if waiting else difference.text
            yield replace(difference, text=text)

    def _customers(
        self, lines: Mapping[str, CustomerLine], ids: Sequence[str], as_of: datetime
    ) -> Iterator[CommerceDifference]:
        streams = self.log.load({customers.stream_of(id_): 0 for id_ in ids})
        for id_ in ids:
            customer = reduce(customers.evolve, streams.get(customers.stream_of(id_), ()), Customer(id_))
            if id_ in lines:
                yield from compare_customer(lines[id_], customer, as_of=as_of)
            elif customer.details is not None and not is_newer(customer.origin, as_of):
                yield CommerceDifference("extra", None, f"customer {id_}", "known here, and commerce does not have it")


def _counted(found: Iterable[CommerceDifference], comparison: Comparison) -> Iterator[CommerceDifference]:
    for difference in found:
        comparison.found[difference.kind] += 1
        yield difference
