"""At which points can a worker be struck, and what are they called?

The worker knows nothing of this. It reaches the world through two ports, the event log and the executors, and these
wear a watch here: each commit and each effect tells its name before it begins and after it has ended. Inside an effect
each statement that changes something tells its name before it is sent.

    claimed ─▶ intent committed ─▶ effect: statement, statement … ─▶ outcome committed ─▶ converged
           ^  ^                 ^ ^       ^          ^             ^ ^                 ^
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from application.ports.inbox import WaitingMessage
from application.ports.log_store import LogStore
from application.ports.resources import BoundedExecutor, Order
from application.ports.work_queue import Lease
from application.unit_of_work import UnitOfWork
from domain.event import Recorded
from domain.scope.state import ScopeConverged, StepCompleted, StepStarted
from domain.scope.steps import ScopeKind, Step, StepResult


@dataclass(frozen=True, order=True, slots=True)
class Point:
    """`act` is what the worker is at (`6 ensure`, `converges`), `moment` where in it."""

    kind: str
    act: str
    moment: str

    def __str__(self) -> str:
        return f"{self.kind} {self.act}, {self.moment}"


Place = frozenset[Point]
"""One moment in a worker's life. A commit has more than one name where it ends one step and begins the next."""

Result = TypeVar("Result")

Watch = Callable[[str, Place], None]
"""Is told the tenant and the place; may never return."""


# -- commits -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WatchedLog:
    """`application.ports.log_store.LogStore` whose commits are watched."""

    log: LogStore
    watch: Watch

    def record(self, recording: UnitOfWork) -> None:
        places = _places(recording)
        for tenant, names in places.items():
            self.watch(tenant, frozenset(Point(*name, "before") for name in names))
        self.log.record(recording)
        for tenant, names in places.items():
            self.watch(tenant, frozenset(Point(*name, "after") for name in names))

    def claim(
        self,
        *,
        owner: str,
        limit: int,
        now: datetime,
        until: datetime,
        share: int | None = None,
        but_not_of: Sequence[str] = (),
    ) -> list[Lease]:
        leases = self.log.claim(owner=owner, limit=limit, now=now, until=until, share=share, but_not_of=but_not_of)
        for lease in leases:
            kind, tenant, *_ = lease.scope.split(":")
            self.watch(tenant, frozenset([Point(kind, "claimed", "after")]))
        return leases

    def scheduled(self, names: Iterable[str]) -> dict[str, datetime]:
        return self.log.scheduled(names)

    def load(self, streams: Mapping[str, int], *, personal: bool = True) -> dict[str, list[Recorded]]:
        return self.log.load(streams, personal=personal)

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        return self.log.read(after, limit)

    def known(self, ids: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        return self.log.known(ids)

    def waiting(self, tenant_ids: Iterable[str]) -> dict[str, list[WaitingMessage]]:
        return self.log.waiting(tenant_ids)

    def faulty(self, tenant_ids: Iterable[str]) -> dict[str, list[int]]:
        return self.log.faulty(tenant_ids)

    def faults_since(self, moment: datetime) -> int:
        return self.log.faults_since(moment)

    def tenants_of(self, customer_id: str) -> Sequence[str]:
        return self.log.tenants_of(customer_id)

    def awaiting_approval(self) -> Sequence[str]:
        return self.log.awaiting_approval()


def _places(recording: UnitOfWork) -> dict[str, set[tuple[str, str]]]:
    """For each tenant, what the commit is called: by the facts in it, or that a turn came to nothing."""
    found: dict[str, set[tuple[str, str]]] = {}
    for fact in recording.events:
        kind, tenant, *_ = fact.stream.split(":")
        found.setdefault(tenant, set()).add((kind, _called(fact)))
    for lease in recording.leases:
        kind, tenant, *_ = lease.scope.split(":")
        found.setdefault(tenant, {(kind, "rests")})
    return found


def _called(fact: Recorded) -> str:
    match fact.event:
        case StepStarted() as event:
            return f"{int(event.step)} {event.direction} intent"
        case StepCompleted() as event:
            return f"{int(event.step)} {event.direction} outcome"
        case ScopeConverged() as event:
            return f"converges {event.level}"
        case event:
            return type(event).__name__


# -- effects -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WatchedExecutor:
    """`BoundedExecutor` whose effects are watched. `ended` is told what each came to."""

    executor: BoundedExecutor
    watch: Watch
    ended: Callable[[Order, Exception | None], None] = lambda order, error: None

    def ensure(self, order: Order) -> StepResult:
        return self._watched(order, self.executor.ensure)

    def remove(self, order: Order) -> None:
        self._watched(order, self.executor.remove)

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        return self.executor.bulkheads(order)

    def _watched(self, order: Order, act: Callable[[Order], Result]) -> Result:
        _at_work.statements = _Statements(order, self.watch)
        self.watch(order.scope.tenant_id, _effect(order, "before"))
        try:
            result = act(order)
        except Exception as error:
            self.ended(order, error)
            raise
        finally:
            _at_work.statements = None
        self.watch(order.scope.tenant_id, _effect(order, "after"))
        self.ended(order, None)
        return result


def watched(
    executors: Mapping[tuple[ScopeKind, Step], BoundedExecutor],
    watch: Watch,
    ended: Callable[[Order, Exception | None], None] = lambda order, error: None,
) -> dict[tuple[ScopeKind, Step], BoundedExecutor]:
    return {key: WatchedExecutor(executor, watch, ended) for key, executor in executors.items()}


def _effect(order: Order, moment: str) -> Place:
    return frozenset([Point(order.scope.kind, f"{int(order.step)} {order.direction} effect", moment)])


# -- statements ----------------------------------------------------------------------------------------------------


class _Statements:
    """Names the statements of one effect; the second of a name is `#2`."""

    def __init__(self, order: Order, watch: Watch) -> None:
        self._order = order
        self._watch = watch
        self._seen: dict[str, int] = {}

    def sends(self, text: str) -> None:
        words = re.match(r"(?:[A-Z]+\s+)*[A-Z]+", text)
        name = words.group() if words else ""
        if "pg_terminate_backend" in text:
            name = "the end of sessions"
        elif name.startswith("SELECT") or not name:
            return
        self._seen[name] = times = self._seen.get(name, 0) + 1
        self._watch(self._order.scope.tenant_id, _effect(self._order, f"{name} #{times}" if times > 1 else name))


class _AtWork(threading.local):
    statements: _Statements | None = None


_at_work = _AtWork()


def watch_statements() -> None:
    """From here on, in this process, the statements of effects tell their names. For a process of a test only."""
    honest = psycopg.Connection.execute

    def execute(self: psycopg.Connection, query: Any, *args: Any, **kwargs: Any) -> Any:
        if _at_work.statements is not None:
            _at_work.statements.sends(query.as_string(self) if isinstance(query, sql.Composable) else str(query))
        return honest(self, query, *args, **kwargs)

    psycopg.Connection.execute = execute  # type: ignore[method-assign, assignment]
