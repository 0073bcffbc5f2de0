"""Step effects: the effect that runs for a scope, its outcome, and the effects that hang."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from application.ports.measures import measure
from application.ports.resources import FOREIGN, Order
from application.ports.tracing import attempted
from application.ports.work_queue import Lease
from application.scope_decision import Decision
from domain.errors import ExecutorError
from domain.scope.steps import StepResult

HANGS_AFTER_SECONDS = 5.0
"""An effect that has run for so long is named by `status`; of a shorter time-out, half of it."""


class StepEffect(Struct, eq=False, gc=False):
    """An effect under way, in its bulkheads; `since` is when it was decided."""

    lease: Lease
    order: Order
    since: datetime
    bulkheads: tuple[str, ...]
    began: float | None = None
    seconds: float | None = None
    """How long it took; None while it runs, and where it took too long."""


class StepOutcome(Struct, frozen=True, eq=False, gc=False):
    """An effect that ended: with a result, with None after a removal, or with the error."""

    lease: Lease
    order: Order
    result: StepResult | Exception | None


def timed(effect: StepEffect, act: Callable[[Order], StepResult | None]) -> StepResult | None:
    effect.began = time.monotonic()
    try:
        with attempted(effect.order):
            return act(effect.order)
    finally:
        effect.seconds = time.monotonic() - effect.began


def ages_of(effects: Iterable[StepEffect]) -> dict[str, float]:
    """The seconds that the oldest effect of each bulkhead has run."""
    now = time.monotonic()
    began: dict[str, float] = {}
    for effect in effects:
        for bulkhead in effect.bulkheads if effect.began is not None else ():
            began[bulkhead] = min(effect.began or now, began.get(bulkhead, now))
    return {bulkhead: now - since for bulkhead, since in began.items()}


def hanging(effects: Iterable[StepEffect], timeout: timedelta) -> str | None:
    """A message that names the bulkhead whose effect does not end; None if there is none."""
    ages = [(age, bulkhead) for bulkhead, age in ages_of(effects).items() if bulkhead != FOREIGN]
    age, bulkhead = max(ages, default=(0.0, ""), key=lambda each: (each[0], ":" in each[1]))
    limit = timeout.total_seconds()
    return (
        f"{bulkhead} does not answer; the step fails after {limit:g} s"
        if age > min(HANGS_AFTER_SECONDS, limit / 2)
        else None
    )


def measure_step(
    order: Order, bulkheads: tuple[str, ...], result: StepResult | BaseException | None, seconds: float
) -> None:
    """Measure an effect that came to an end; of an error its kind, which is one of ours or `unexpected`."""
    outcome = "completed"
    if isinstance(result, BaseException):
        outcome = type(result).__name__.lower() if isinstance(result, ExecutorError) else "unexpected"
    executor = "foreign" if FOREIGN in bulkheads else "ours"
    measure("step", seconds, order.scope.kind, order.step.name.lower(), order.direction, executor, outcome)


def measure_opening(decision: Decision) -> None:
    """Measure how long a product took to open, where the decision opens one."""
    if decision.opened_after is not None:
        measure("time_to_open", decision.opened_after.total_seconds())
