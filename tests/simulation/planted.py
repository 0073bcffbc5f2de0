"""Which faults do we plant, to see that the simulation finds them?

Each breaks one promise of the saga, of an executor or of the registers, for as long as the block lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any
from unittest.mock import patch

from msgspec import structs

from application import reconcile as saga
from application.stream_cache import Streams
from application.unit_of_work import UnitOfWork
from domain import registers
from domain.catalog import Catalog
from domain.configuration import Adopted
from domain.errors import ExecutorError
from domain.registers import Write
from domain.scope import desired as desired_state
from domain.scope import next_action as convergence
from domain.scope.next_action import Resume
from domain.scope.steps import DatabaseSpec
from domain.tenant import budget, product_registers
from domain.tenant import decisions as tenant_decisions
from domain.tenant import state as tenant
from tests.fakes.event_log import MemoryEventLog
from tests.fakes.world import World, events_of
from tests.simulation.parts import SteppedEffects
from workers.provisioner import Provisioner

Broken = AbstractContextManager[Any]
"""Within it, things are broken."""


def _an_effect_that_is_not_idempotent() -> Broken:
    """Whoever creates a database twice has two of them."""
    honest = World._ensure_database  # noqa: SLF001

    def twice(world: World, order: Any, spec: DatabaseSpec) -> None:
        honest(
            world, structs.replace(order, created_generations={**order.created_generations, "": world.effects}), spec
        )

    return patch.object(World, "_ensure_database", twice)


def _a_lower_generation_is_accepted() -> Broken:
    """A worker that slept does what its successor has undone."""

    def no_fence(world: World, order: Any) -> None:
        world.trouble(order, "before")
        world.effects += 1

    return patch.object(World, "_pass", no_fence)


def _a_commit_before_its_effect() -> Broken:
    """The outcome is told as soon as the effect was begun."""
    honest = SteppedEffects.begin

    def hasty(effects: Any, key: Any, act: Any) -> None:
        honest(effects, key, act)
        order = key.order
        if order.direction == "ensure":
            effects._queued.pop(key)  # noqa: SLF001
            effects.late.append(act)
            effects._outcomes.put((key, events_of(order.spec, order.created_generations)))  # noqa: SLF001

    return patch.object(SteppedEffects, "begin", hasty)


def _an_effect_before_its_intent() -> Broken:
    """The effect comes about when it was decided on, before that was recorded."""
    honest = Provisioner._decided  # noqa: SLF001

    def hasty(self: Any, work: Any, *, draining: bool, budget: int | None) -> Any:
        decided = honest(self, work, draining=draining, budget=budget)
        for order in [
            decision.order for _, decision, _ in decided if decision is not None and decision.order is not None
        ]:
            executor = self._executors[order.scope.kind, order.step]
            with suppress(ExecutorError):
                executor.ensure(order) if order.direction == "ensure" else executor.remove(order)
        return decided

    return patch.object(Provisioner, "_decided", hasty)


def _a_wake_that_is_lost() -> Broken:
    """Nobody is told that what they wait for has come."""
    return patch.object(saga, "made_due", lambda *event, **catalog: ())


def _a_removal_of_the_wrong_generation() -> Broken:
    """A removal names the database after itself, and drops nothing."""
    honest = World.remove

    def misses(world: World, order: Any) -> None:
        honest(
            world,
            structs.replace(order, created_generations=dict.fromkeys(order.created_generations, order.generation)),
        )

    return patch.object(World, "remove", misses)


def _a_given_up_wish_that_is_tried_for_ever() -> Broken:
    """What was given up is tried again, with the same wish."""
    honest = convergence.next_action

    def stubborn(spec: Any, actual: Any, blockers: Any, now: Any) -> Any:
        return Resume("once more") if actual.failure is not None else honest(spec, actual, blockers, now)

    return patch.object(saga, "next_action", stubborn)


def _a_purge_without_its_event() -> Broken:
    """When retention is over, the product is simply absent."""
    honest = desired_state.product_level

    def unreachable(key: str, snapshot: Any, *, catalog: Any, now: Any) -> Any:
        level = honest(key, snapshot, catalog=catalog, now=now)
        since = snapshot.tenant.product(key).deactivated_at
        return "absent" if level == "retained" and since and (now - since).days >= 60 else level

    return patch.object(desired_state, "product_level", unreachable)


def _a_removal_at_a_neighbour() -> Broken:
    """The database of the same family goes, whoever it belongs to."""
    honest = World.remove

    def wild(world: World, order: Any) -> None:
        honest(world, order)
        if isinstance(order.spec, DatabaseSpec):
            for place in [place for place in world.databases if place[1] == order.spec.family]:
                del world.databases[place]

    return patch.object(World, "remove", wild)


def _the_last_to_arrive_wins() -> Broken:
    """Revisions count for nothing."""
    stack = ExitStack()
    for room in (registers, product_registers, tenant_decisions):
        stack.enter_context(patch.object(room, "judge", lambda register, value, revision: Write.LANDS))
    return stack


def _a_release_that_is_lost() -> Broken:
    """A site name is free again, and whoever waits for it is not told."""
    honest = MemoryEventLog.record

    def unreachable(log: MemoryEventLog, recording: UnitOfWork) -> None:
        honest(log, structs.replace(recording, unblocked=[]))

    return patch.object(MemoryEventLog, "record", unreachable)


def _a_lease_that_is_ignored() -> Broken:
    """What a worker records is taken from it, whoever has its lease by now."""
    honest = MemoryEventLog.record

    def trusting(log: MemoryEventLog, recording: UnitOfWork) -> None:
        still = {lease.token for lease in log.leases.values()}
        ended = [lease for lease in recording.leases if lease.token in still]
        renewed = [(lease, until) for lease, until in recording.renewals if lease.token in still]
        honest(log, structs.replace(recording, leases=ended, kept=[], renewals=renewed))
        for number in (number for lease in recording.leases for number in lease.work_items):
            log.work_items.pop(number, None)

    return patch.object(MemoryEventLog, "record", trusting)


def _a_guard_that_lets_everything_pass() -> Broken:
    """Nothing is too much to be destroyed at once."""
    return patch.object(tenant, "is_guarded", lambda event, tenant: False)


def _closings_that_are_not_counted() -> Broken:
    """A producer may close everybody's products: only what is destroyed has a budget."""
    return patch.object(budget, "closes", lambda event, tenant, now: False)


def _ground_that_does_not_count() -> Broken:
    """Whoever stands on what is being undone builds on."""
    return patch.object(desired_state, "_with_prerequisites", lambda scope, spec, snapshot, catalog: spec)


def _a_process_that_believes_its_own_catalogue() -> Broken:
    """What was adopted is not asked for: each process goes by the catalogue that it was started with."""
    return patch.object(Streams, "adopted", lambda streams: Adopted())


def _a_retired_product_that_is_not_closed() -> Broken:
    """What left the catalogue is unknown: a suspension of it goes to the quarantine."""
    honest = tenant_decisions._check_offer  # noqa: SLF001

    def strict(command: Any, catalog: Catalog, of: Any) -> None:
        honest(command, catalog.offered, tenant.Tenant(of.id))

    return patch.object(tenant_decisions, "_check_offer", strict)


FAULTS: dict[str, Callable[[], Broken]] = {
    "an effect that is not idempotent": _an_effect_that_is_not_idempotent,
    "a lower generation is accepted": _a_lower_generation_is_accepted,
    "a commit before its effect": _a_commit_before_its_effect,
    "an effect before its intent": _an_effect_before_its_intent,
    "a wake that is lost": _a_wake_that_is_lost,
    "a removal of the wrong generation": _a_removal_of_the_wrong_generation,
    "a given-up wish that is tried for ever": _a_given_up_wish_that_is_tried_for_ever,
    "a purge without its event": _a_purge_without_its_event,
    "a removal at a neighbour": _a_removal_at_a_neighbour,
    "the last to arrive wins": _the_last_to_arrive_wins,
    "a release that is lost": _a_release_that_is_lost,
    "a lease that is ignored": _a_lease_that_is_ignored,
    "a guard that lets everything pass": _a_guard_that_lets_everything_pass,
    "closings that are not counted": _closings_that_are_not_counted,
    "ground that does not count": _ground_that_does_not_count,
    "a process that believes its own catalogue": _a_process_that_believes_its_own_catalogue,
    "a retired product that is not closed": _a_retired_product_that_is_not_closed,
}
