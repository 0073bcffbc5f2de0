"""What happens in the story of a seed?

All actors take their steps in one thread, in an order that one `random.Random(seed)` draws: commerce, two workers, an
operator, time. A step is one thing that one of them does: a message comes, time leaps, an effect comes about or hangs,
a worker records what it decided, is stopped or killed, an operator acts. Every process was started with a catalogue of
its own, which may lack a product: what was adopted counts. Who is drawn and has nothing to do takes no
step. What each was is kept as lines of the transcript. A worker that is about to commit may be stopped there while
others take their steps, which is what SIGSTOP does to it.

    storm (at least 300 steps) ──▶ night: some effect fails for good ──▶ dawn: no more trouble, the operator mends
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Literal
from uuid import UUID

from application.inbound import Inbound
from application.ingest import Lifecycle
from application.operator_commands import Act, OperatorCommands
from application.ports.inbox import WaitingMessage
from application.ports.resources import Order
from application.reconcile import Saga
from application.unit_of_work import UnitOfWork
from domain.catalog import Catalog
from domain.configuration import STREAM, Adopted, AdoptedShard, Configuration, Living, ShardMap, adopt
from domain.errors import Conflict, ExecutorError, Permanent, Refused, Retryable, Unavailable, Unreachable, UsageError
from domain.event import Cause, Recorded
from domain.operator import Operator
from domain.policy import Guard, Policy, default_policy
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import StepCompleted, StepStarted
from domain.scope.steps import SCOPE_STEPS, Scope
from tests.domain.checked_saga import CheckedSaga
from tests.domain.given import APP, CATALOG, CONFLUENCE, JIRA, SERVICE, Clock, message
from tests.domain.prerequisites import check_undone
from tests.fakes.event_log import MemoryEventLog
from tests.simulation import registers
from tests.simulation.checks import Witness, check_given_up, check_held, check_nobody_is_forgotten
from tests.simulation.desk import Desk
from tests.simulation.parts import Killed, SteppedEffects, WatchedLog, WorldBesideLog
from tests.simulation.registers import Message
from workers.bulkheads import ConcurrencyLimits
from workers.provisioner import Provisioner

STEPS = 300
TENANTS = ("t-1", "t-2")
LEASE = timedelta(seconds=30)
DAY = timedelta(days=1)
ROUNDS = 400
"""Within so many rounds everybody has worked off what is due at one time."""

CALM = default_policy().retry.model_copy(update={"obstacle_poll": timedelta(days=3650)})
POLICY: Policy = default_policy().model_copy(update={"retry": CALM})
"""Who waits for an obstacle is woken by its release, or never."""

LIMITS = (*[1_000_000] * 5, 0, 1, 1, 2)
"""How much the destroy guard lets pass: in most stories all; in the others next to nothing, and more is destroyed."""

TYPES = (
    *["product.activated"] * 5,
    *["product.deactivated"] * 3,
    *["product.suspended"] * 2,
    *["product.unsuspended"] * 2,
    *["license.updated"] * 3,
    "commerce.customer.updated",
)
LEAPS = (
    *[timedelta(seconds=1)] * 8,
    *[timedelta(seconds=7)] * 8,
    *[timedelta(minutes=1)] * 8,
    *[timedelta(minutes=10)] * 4,
    timedelta(hours=5),
    timedelta(days=9),
    timedelta(days=31),
    timedelta(days=61),
)


_DRAWN = {"work": 64, "commerce": 13, "time": 13, "stop": 2, "kill": 3, "hang": 2, "operator": 3}
ACTORS = [actor for actor, weight in _DRAWN.items() for _ in range(weight)]
"""How often each is drawn."""


@dataclass
class Worker:
    """A process. `busy` while it stands in the middle of a round; stopped until a step of the story.

    `drowsy` when it has slept past its lease: what it decided may be long out of date, and it often dies soon.
    """

    name: str
    provisioner: Provisioner
    effects: SteppedEffects[Any, Any]
    busy: bool = False
    stopped_until: int = 0
    looked_at: datetime | None = None
    drowsy: bool = False


def _budget(guard: registers.Guard) -> Guard:
    """As the policy says it."""
    return Guard(at_least=guard.limit, share=0, window=guard.window)


class Story:
    """One seed."""

    def __init__(self, seed: int, *, steps: int = STEPS) -> None:
        self.seed = seed
        self.steps = steps
        self.dice = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self._lines: list[tuple[int, datetime, str, str | Recorded]] = []
        self.clock = Clock()
        self.log = WatchedLog(self, clock=self.clock)
        self.world = WorldBesideLog()
        self.world.trouble = self._trouble
        guard = registers.Guard(limit=self.dice.choice(LIMITS), window=self.dice.choice([DAY / 144, DAY]))
        self.is_guarded = guard.limit < max(LIMITS)
        closing = registers.Guard(limit=self.dice.choice(LIMITS), window=self.dice.choice([DAY / 144, DAY]))
        self.is_closing_guarded = closing.limit < max(LIMITS)
        budgets = {"guard": _budget(guard), "closing_guard": _budget(closing)}
        self.policy = POLICY.model_copy(update=budgets)
        self.registers = {tenant: registers.Tenant(guard, closing) for tenant in TENANTS}
        self.desk = Desk(self._operating, self.registers, self.clock)
        self.witness = Witness(self.log, self.world)
        self.products = self.dice.sample((JIRA, SERVICE, CONFLUENCE, APP), 3)
        self.revisioned = {(tenant, key): self.dice.random() < 0.8 for tenant in TENANTS for key in self.products}
        self.site_names = dict(zip(TENANTS, self.dice.choice([("acme", "bolt")] * 3 + [("acme", "acme")]), strict=True))
        self.are_rivals = len(set(self.site_names.values())) == 1
        self.trouble = self.dice.choice([0.02, 0.08, 0.2])
        self.broken: tuple[str, int, type[ExecutorError]] | None = None
        self.number = 0
        self._acts: Mapping[str, Callable[[], bool]] = {
            "work": self._work,
            "commerce": self._commerce,
            "time": self._time,
            "stop": self._stop,
            "kill": self._kill,
            "hang": self._hang,
            "operator": self._operator,
        }
        self._acting: Worker | None = None
        self._ids = count(1)
        self._catalogues = random.Random(f"catalogues of {seed}")  # noqa: S311 - of its own: the rest goes as before
        self._retires_at = self._catalogues.choice([None, *range(50, steps, 50)])
        self._offered = self._adopts(CATALOG)
        self._sent: list[Message] = []
        self._wire: list[Message] = []
        self._revisions: dict[tuple[str, str], int] = {}
        self._seen: dict[bytes, Inbound] = {}
        self._lifecycle = Lifecycle(
            self.log,
            catalog=self._at_hand(),
            policy=POLICY,
            clock=self.clock,
            new_id=self._new_id,
            reread=self._reread,
        )
        self.saga = self._new_saga()
        self.workers = [self._new_worker(f"worker {number}") for number in (1, 2)]
        for tenant in TENANTS:
            self._wire.append(self._says("tenant.created", tenant, "", revision=1))

    # -- the plot -----------------------------------------------------------------------------------------------------

    def tell(self) -> None:
        """The whole story, to its end."""
        while self.number < self.steps:
            self._step()
        self._night()
        self._dawn()

    def _step(self) -> None:
        """One of the actors does one thing; who has nothing to do is passed over."""
        self.number += 1
        if self._retires_at is not None and self.number >= self._retires_at and self._all_exist():
            self._retires()
        while not self._acts[self.dice.choice(ACTORS)]():
            pass

    def _all_exist(self) -> bool:
        """Nothing waits for its tenant any more: what comes now is decided now."""
        return all(registers.exists for registers in self.registers.values())

    def _night(self) -> None:
        """One kind of effect fails, each time: what is given up stays given up, and everything comes to rest."""
        while self._wire:
            self._deliver(self._wire.pop())
        for worker in self.workers:
            worker.stopped_until = 0
        self.trouble = 0
        kind, step = self.dice.choice([("site", 4), ("family", 6), ("product", 5), ("product", 7)])
        self.broken = kind, step, self.dice.choice([Permanent, Permanent, Retryable])
        self._note("night", f"step {step} of each {kind} fails from here on")
        self._settle(timedelta(hours=2))
        check_given_up(self)
        for snapshot in self.snapshots().values():
            check_undone(snapshot.scopes)

    def _dawn(self) -> None:
        """All is mended, the operator lets everything go on, and the clock runs, till names that went are free."""
        self.broken = None
        self._note("dawn", "no more trouble")
        end = 100 * DAY if self.are_rivals else self.dice.choice([timedelta(), DAY, 20 * DAY, 100 * DAY])
        for horizon in (timedelta(hours=1), end):
            for _ in range(4):
                self._mend()
                self._settle(timedelta())
            self._settle(horizon)

    def _settle(self, span: timedelta) -> None:
        """Everybody works until nothing is due within the time."""
        until, rounds = self.clock() + span, 0
        while True:
            while any([self._finish(worker) for worker in self.workers]):  # noqa: C419 - each of them works
                rounds += 1
                assert rounds < ROUNDS, f"the workers never come to rest: {self.log.work_items}"
            leases = self.log.leases
            due = [
                max(work_item.at, leases[work_item.scope].until if work_item.scope in leases else work_item.at)
                for work_item in self.log.work_items.values()
            ]
            if not due or min(due) > until:
                self.clock.now = until
                return
            self.clock.now = max(self.clock(), min(due))
            self._note("time", "passes")

    def _finish(self, worker: Worker) -> bool:
        while worker.effects.late:
            worker.effects.come_late()
        while worker.effects.queued:
            worker.effects.act(self.dice)
        return worker.provisioner.round()

    def _mend(self) -> None:
        """The operator retries what was given up, and releases what is held; of what the guard holds not always."""
        if self.desk.held():
            self._reads()
            self.dice.choice([self._approves, self._approves, self._rejects, self._leaves])()
        for snapshot in self.snapshots().values():
            for scope, actual in snapshot.scopes.items():
                if actual.on_hold is not None or actual.failure is not None:
                    self._does("release" if actual.is_on_operator_hold else "retry", scope)

    # -- workers ------------------------------------------------------------------------------------------------------

    def _new_worker(self, name: str) -> Worker:
        executors = {(scope, step): self.world for scope, steps in SCOPE_STEPS.items() for step in steps}
        effects = SteppedEffects[Any, Any]()
        provisioner = Provisioner(
            self.log,
            self._new_saga(),
            executors,
            clock=self.clock,
            owner=name,
            limits=ConcurrencyLimits(threads=1, claim=3),
            lease=LEASE,
            poll_seconds=0,
            drain_seconds=0,
            effects=effects,
        )
        return Worker(name, provisioner, effects)

    def _new_saga(self) -> Saga:
        return CheckedSaga(
            self.log,
            catalog=self._at_hand(),
            policy=POLICY,
            clock=self.clock,
            new_id=self._new_id,
            dice=self.dice.random,
        )

    # -- catalogues ---------------------------------------------------------------------------------------------------

    def _at_hand(self) -> Catalog:
        """The catalogue that a process finds where it is started: the newest, or one that lacks a product."""
        lacks = self._catalogues.choice([None, *self.products])
        return CATALOG if lacks is None else _without(lacks, CATALOG)

    def _adopts(self, catalog: Catalog) -> Catalog:
        """The operator adopts it, and the policy of this story."""
        before = self.saga.adopted if hasattr(self, "saga") else Adopted()
        topology = ShardMap(shards=(AdoptedShard(name="eu-1", region="eu", capacity=100),), default_region="eu")
        event = adopt(
            Configuration(catalog, self.policy, topology),
            before.configuration,
            Living(products={}, shards={}),
            reason="it is so now",
            by="ada",
        )
        cause = Cause(kind="operator", source="ada", id="adopts")
        recorded = Recorded(STREAM, before.version + 1, self._new_id(), self.clock.now, cause, "ada", event)
        MemoryEventLog.record(self.log, UnitOfWork(events=[recorded]))
        self._note("operator", f"adopts a catalogue, retired: {', '.join(event.catalog.retired) or 'none'}")
        return catalog

    def _retires(self) -> None:
        """A product leaves the catalogue, and with it its apps: nobody may activate it any more."""
        self.saga.snapshots(TENANTS)  # learns what is adopted
        self._retires_at = None
        self._offered = self._adopts(_without(self._catalogues.choice(self.products), CATALOG))

    def _awake(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.busy and worker.stopped_until < self.number]

    def _work(self) -> bool:
        """A worker brings an effect about, or goes one round in which it records something, or tries to."""
        awake = self._awake()
        if not awake:
            return False
        worker = self.dice.choice(awake)
        if worker.effects.queued and self.dice.random() < 0.6:
            self._acting = worker
            worker.effects.act(self.dice)
            return True
        return self._has_something(worker) and self._round(worker)

    def _has_something(self, worker: Worker) -> bool:
        """Whether a round of the worker may come to anything: most would not, and take as long."""
        now, since = self.clock(), worker.looked_at
        if worker.effects.has_outcomes or self.log.is_due(now):
            return True
        return bool(worker.effects.under_way) and since != now  # a lease to renew, an effect that waits too long

    def _round(self, worker: Worker) -> bool:
        acting, self._acting, worker.busy = self._acting, worker, True
        worker.looked_at = self.clock()
        before = self.log.recordings + self.log.conflicts
        try:
            worker.provisioner.round()
        except Unavailable as error:
            self._note(worker.name, f"{error}")
            return True
        except Killed:
            self._replace(worker)
            check_nobody_is_forgotten(self)
            return True
        finally:
            self._acting, worker.busy = acting, False
        return self.log.recordings + self.log.conflicts > before

    def _stop(self) -> bool:
        """SIGSTOP, for a while; others may take over what it holds."""
        awake = self._awake()
        if not awake:
            return False
        worker = self.dice.choice(awake)
        worker.stopped_until = self.number + self.dice.choice([5, 20, 60])
        self._note(worker.name, f"is stopped until step {worker.stopped_until}")
        return True

    def _kill(self) -> bool:
        awake = self._awake()
        if not awake:
            return False
        self._replace(self.dice.choice(awake))
        return True

    def _replace(self, worker: Worker) -> None:
        """What it had in memory is lost; what it held stays held until its lease ends."""
        self._note(worker.name, "is killed")
        fresh = self._new_worker(worker.name)
        worker.provisioner, worker.effects, worker.drowsy = fresh.provisioner, fresh.effects, False

    def _hang(self) -> bool:
        """An effect takes too long, or one that did comes about after all."""
        for worker in self._awake():
            if worker.effects.late:
                self._note(worker.name, "a late effect comes about")
                worker.effects.come_late()
                return True
            if worker.effects.queued:
                self._note(worker.name, "an effect hangs")
                worker.effects.hang(self.dice)
                return True
        return False

    # -- trouble ------------------------------------------------------------------------------------------------------

    def blockers(self, recording: UnitOfWork, when: Literal["before", "after"]) -> None:
        """What may befall a worker at a commit."""
        worker = self._acting
        if worker is None or not worker.busy:
            return
        if worker.drowsy and when == "after":
            worker.drowsy = False
            if self.dice.random() < 0.5:
                self._note(worker.name, "wakes up, commits and is killed")
                raise Killed
        if self.dice.random() >= self.trouble:
            return
        fates = ["killed", "lost", "stopped", "stopped"]
        fate = self.dice.choice(fates if when == "after" else [*fates, "oversleeps", "conflict"])
        self._note(worker.name, f"{fate} {when} the commit")
        match fate:
            case "killed":
                raise Killed
            case "lost":
                raise Unavailable("the connection is lost")
            case "conflict":
                raise Conflict("somebody else recorded first")
            case "oversleeps":
                worker.drowsy = True
                self.clock.advance(LEASE + timedelta(seconds=1))
                self._takes_back(recording)
                self._sleeps(worker, 25)
            case _:
                self._sleeps(worker, self.dice.choice([1, 5, 25]))

    def _sleeps(self, worker: Worker, steps: int) -> None:
        """Others take so many steps, while it stands where it is."""
        for _ in range(steps):
            self._step()
        self._acting = worker
        self._note(worker.name, "goes on")

    def _takes_back(self, recording: UnitOfWork) -> None:
        """Commerce says the opposite of what the intent of a sleeper is about: others may find nothing left to do."""
        for scope in [fact.event.scope for fact in recording.events if isinstance(fact.event, StepStarted)]:
            keys = [key for key in self.products if key == scope.key or CATALOG.family_of(key) == scope.key]
            for key in keys[:1]:
                product = self.registers[scope.tenant_id].products.get(key)
                if product is None or not product.active:
                    type_ = "product.activated"
                elif product.access.value:
                    type_ = "product.unsuspended"
                else:
                    has_converged = self.witness.has_converged.get(scope.tenant_id, {}).get(key)
                    type_ = "product.suspended" if has_converged else "product.deactivated"
                counter = (scope.tenant_id, key)
                revision = self._next(counter) if self.revisioned[counter] else None
                self._deliver(self._says(type_, *counter, revision=revision))

    def sees(self, facts: Sequence[Recorded]) -> None:
        self.witness.commits += 1
        for fact in facts:
            self._note(self._acting.name if self._acting else "front door", fact)
            self.desk.sees(fact)
            self.witness.sees(fact)
            if isinstance(fact.event, StepStarted | StepCompleted):
                self.world.sees(fact.event)

    def _trouble(self, order: Order, when: Literal["before", "after"]) -> None:
        """What may befall an effect: it fails, or comes about and nobody learns of it."""
        self.witness.effect(order, when)
        if self.broken and self.broken[:2] == (order.scope.kind, order.step) and when == "before":
            raise self.broken[2]("it is broken")
        chance = self.dice.random()
        if chance < self.trouble / 2:
            self._note("world", f"{order.idempotency_key} fails {when} its effect")
            kinds: list[Callable[[str], Exception]] = [Retryable, Retryable, self._away, Permanent, ConnectionError]
            kind = self.dice.choice(kinds)
            raise kind("the network is slow")
        if when == "after":
            self._note("world", f"{order.idempotency_key} comes about")

    def _away(self, reason: str) -> Unreachable:
        """One of two things that others depend on is away: whoever waits for it is woken by its first answer."""
        return Unreachable(self.dice.choice(["shard eu-1", "provisioner:confluence/7"]), reason)

    # -- commerce -----------------------------------------------------------------------------------------------------

    def _commerce(self) -> bool:
        """Commerce says something, or something that it said comes at last, or comes again."""
        match self.dice.choice(["says", "says", "says late", "comes", "comes again"]):
            case "says":
                self._deliver(self._anything())
            case "says late":
                self._wire.append(self._anything())
                self._note("commerce", f"{self._wire[-1].id} is on its way")
            case "comes" if self._wire:
                self._deliver(self._wire.pop(self.dice.randrange(len(self._wire))))
            case _:
                self._deliver(self.dice.choice(self._sent))
        return True

    def _anything(self) -> Message:
        tenant = self.dice.choice(TENANTS)
        if self.dice.random() < (0.04 if self.is_guarded or self.are_rivals else 0.01):
            return self._says("tenant.destroyed", tenant, "", revision=self._next((tenant, "")))
        key, type_ = self.dice.choice(self.products), self.dice.choice(TYPES)
        if self.is_guarded and self.dice.random() < 0.2:
            type_ = "product.deactivated"
        if self.is_closing_guarded and self.dice.random() < 0.2:
            type_ = self.dice.choice(["product.suspended", "license.updated"])
        if type_ == "commerce.customer.updated":
            return self._says(type_, tenant, "", revision=self._next(("c-1", "")))
        revision = self._next((tenant, key)) if self.revisioned[tenant, key] or self.dice.random() < 0.05 else None
        return self._says(type_, tenant, key, revision=revision)

    def _next(self, counter: tuple[str, str]) -> int:
        """Commerce's own counter; now and then it says something else under a revision that it has used."""
        used = self._revisions.get(counter, 1)
        if self.dice.random() < 0.03:
            return used
        self._revisions[counter] = used + 1
        return used + 1

    def _says(self, type_: str, tenant: str, key: str, *, revision: int | None) -> Message:
        data: dict[str, Any] = {}
        if type_ in ("product.activated", "license.updated"):
            data["users"] = self.dice.randrange(1, 100)
            if self.dice.random() < 0.3:
                data["expires_at"] = self.clock() + self.dice.choice([DAY / 24, 20 * DAY, 400 * DAY])
        if type_ == "license.updated":
            data["status"] = self.dice.choice(["active", "active", "inactive"])
        at = self.clock() - self.dice.choice([timedelta()] * 3 + [DAY])
        said = Message(f"m{len(self._sent)}", type_, tenant, key, revision, at, data)
        self._sent.append(said)
        return said

    def _deliver(self, said: Message) -> None:
        self._acting = None
        self._note("commerce", f"{said.type} {said.tenant} {said.product} revision {said.revision} {said.data or ''}")
        data: dict[str, Any] = dict(said.data)
        match said.type:
            case "commerce.customer.updated":
                data["name"] = f"Acme {said.id}"
            case "tenant.created":
                data |= {"tenant_id": said.tenant, "site_name": self.site_names[said.tenant]}
            case "tenant.destroyed":
                data["tenant_id"] = said.tenant
            case _:
                data |= {"tenant_id": said.tenant, "product": said.product}
        if said.type in ("product.activated", "license.updated"):
            data["edition"] = "standard"
        inbound = message(said.type, said.revision, id=said.id, time=said.at, **data)
        self._seen[inbound.digest] = inbound
        self._lifecycle.intake([inbound])
        if said.type != "commerce.customer.updated":
            if said.type == "product.activated" and said.product not in self._offered.products:
                self.registers[said.tenant].seen.add(said.id)  # refused for good
            else:
                self.registers[said.tenant].hears(said, self.clock())
            check_held(self)

    def _reread(self, waiting: WaitingMessage) -> Inbound:
        return self._seen[waiting.digest]

    # -- time and the operator ----------------------------------------------------------------------------------------

    def _time(self) -> bool:
        leap = self.dice.choice(LEAPS)
        self.clock.advance(leap)
        self._note("time", f"{leap} pass")
        return True

    def _operator(self) -> bool:
        tenant = self.dice.choice(TENANTS)
        if not self.registers[tenant].exists:
            return False
        if self.desk.held() and self.dice.random() < 0.5:
            if self.desk.plan is None:
                self._reads()
            else:
                self.dice.choice([self._approves, self._approves, self._rejects])()
            return True
        if self.registers[tenant].destroyed_at is not None:
            return self._restore(tenant)
        scopes = self.snapshots()[tenant].scopes
        stuck = [scope for scope, actual in scopes.items() if actual.on_hold is not None or actual.failure is not None]
        if stuck and self.dice.random() < 0.8:
            scope = self.dice.choice(stuck)
            return self._does("release" if scopes[scope].is_on_operator_hold else "retry", scope)
        return self._does("hold", self.dice.choice(list(scopes)))

    def _restore(self, tenant: str) -> bool:
        self._acting = None
        try:
            self._operating().restore(tenant, reason="the wrong one was called", by=Operator.parse("ada"))
        except Refused:
            assert self.registers[tenant].is_going, f"{tenant} was not restored, and its data is still there"
            return False
        assert not self.registers[tenant].is_going, f"{tenant} was restored after its purge had begun"
        self.registers[tenant].restores()
        check_held(self)
        return True

    # -- the destroy guard --------------------------------------------------------------------------------------------

    def _reads(self) -> None:
        self._note("operator", f"reads the plan: {self.desk.reads()}")

    def _approves(self) -> None:
        self._decides("approve")

    def _rejects(self) -> None:
        self._decides("reject")

    def _decides(self, verdict: Literal["approve", "reject"]) -> None:
        self._acting = None
        self._note("operator", self.desk.decides(verdict))
        check_held(self)

    def _leaves(self) -> None:
        """She looks at it another day."""

    # -- scopes -------------------------------------------------------------------------------------------------------

    def _does(self, kind: Literal["retry", "hold", "release"], scope: Scope) -> bool:
        self._acting = None
        try:
            self._operating().carry_out(Act(kind, scope, "she thinks so"), by=Operator.parse("ada"))
        except UsageError:
            return False
        return True

    def _operating(self) -> OperatorCommands:
        return OperatorCommands(self.log, self.saga.snapshots, self.saga.catalog, self.policy, self.clock, self._new_id)

    def snapshots(self) -> Mapping[str, TenantSnapshot]:
        return self.saga.snapshots(TENANTS)

    # -- telling ------------------------------------------------------------------------------------------------------

    def _note(self, who: str, what: str | Recorded) -> None:
        self._lines.append((self.number, self.clock.now, who, what))

    @property
    def transcript(self) -> str:
        """What happened, a line for each thing, under the number of its step."""
        return "\n".join(
            f"{number:4} {at:%Y-%m-%d %H:%M:%S} {who}: {_told(what)}" for number, at, who, what in self._lines
        )

    def _new_id(self) -> UUID:
        return UUID(int=next(self._ids))


def _without(key: str, catalog: Catalog) -> Catalog:
    gone = {key, *catalog.apps_of(key)}
    return Catalog(products={each: product for each, product in catalog.products.items() if each not in gone})


def _told(what: str | Recorded) -> str:
    if isinstance(what, str):
        return what
    event = what.event
    named = {
        name: getattr(event, name)
        for name in ("step", "direction", "generation", "level", "reason", "product")
        if hasattr(event, name)
    }
    return f"{what.stream} {what.version} {type(event).__name__} {' '.join(f'{value}' for value in named.values())}"
