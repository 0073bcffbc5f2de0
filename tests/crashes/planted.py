"""Which faults do we plant in a worker, to see that striking it brings them to light?

Each breaks one promise of an executor or of the worker, in the process of that worker alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from adapters.postgres import unit_of_work as recording
from adapters.resources import database as databases
from adapters.resources import fences
from adapters.resources.entitlement import licensed
from adapters.resources.login_role import Names
from application.ports.resources import BoundedExecutor, Order
from application.unit_of_work import UnitOfWork
from domain.scope.steps import ScopeKind, Step, StepResult
from tests.crashes.points import WatchedLog

Executors = Mapping[tuple[ScopeKind, Step], BoundedExecutor]


@dataclass(frozen=True)
class Fault:
    """What becomes of the worker's ports."""

    log: Callable[[WatchedLog], WatchedLog] = lambda log: log
    executors: Callable[[Executors], Executors] = lambda executors: executors


Planted = Callable[[], AbstractContextManager[Fault]]


@contextmanager
def _nothing() -> Iterator[Fault]:
    yield Fault()


@contextmanager
def _an_effect_that_is_not_idempotent() -> Iterator[Fault]:
    """Each worker makes the database under a name of its own."""
    honest = Names.of

    def another(order: Order) -> Names:
        names = honest(order)
        return replace(names, place=f"{names.place}{os.getpid()}") if order.direction == "ensure" else names

    with patch.object(Names, "of", another):
        yield Fault()


@contextmanager
def _a_fence_that_lets_everybody_pass() -> Iterator[Fault]:
    """An order that is out of date is carried out."""

    def open_(passing: Any, order: Order) -> bool:
        passing.fetchone()
        return False

    with ExitStack() as stack:
        for room in (databases, fences):
            stack.enter_context(patch.object(room, "passed", open_))
        yield Fault()


@contextmanager
def _a_lease_that_is_ignored() -> Iterator[Fault]:
    """What a worker records is taken from it, whoever has its lease by now."""
    with patch.object(recording, "_expect", lambda curs, count, otherwise: None):
        yield Fault()


@contextmanager
def _a_commit_before_its_effect() -> Iterator[Fault]:
    """An entitlement is told as laid down, and is laid down when that was recorded."""
    hasty: list[_Hasty] = []

    def executors(honest: Executors) -> Executors:
        hasty.append(_Hasty(honest["product", Step.LICENSE]))
        return {**honest, ("product", Step.LICENSE): hasty[0]}

    yield Fault(lambda log: _PaysItsDebts(log.log, log.watch, hasty), executors)


@dataclass
class _Hasty:
    """Promises what it has not done."""

    honest: BoundedExecutor
    owed: list[Order] = field(default_factory=list)

    def ensure(self, order: Order) -> StepResult:
        self.owed.append(order)
        return licensed(order)

    def remove(self, order: Order) -> None:
        self.honest.remove(order)

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        return self.honest.bulkheads(order)


@dataclass(frozen=True, slots=True)
class _PaysItsDebts(WatchedLog):
    """After each commit, what was promised is done."""

    hasty: list[_Hasty] = field(default_factory=list)

    def record(self, recording: UnitOfWork) -> None:
        WatchedLog.record(self, recording)  # a dataclass with slots has no plain super()
        for each in self.hasty:
            while each.owed:
                each.honest.ensure(each.owed.pop())


FAULTS: dict[str, Planted] = {
    "": _nothing,
    "an effect that is not idempotent": _an_effect_that_is_not_idempotent,
    "a fence that lets everybody pass": _a_fence_that_lets_everybody_pass,
    "a lease that is ignored": _a_lease_that_is_ignored,
    "a commit before its effect": _a_commit_before_its_effect,
}
