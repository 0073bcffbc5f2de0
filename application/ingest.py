"""Intake service: a batch of messages becomes events.

The intake hands over what it read, in order. `Lifecycle.intake` loads every stream that the batch touches with one
query, decides message by message on the state as it grows, and records all of it in one transaction: events, positions,
ids and digests, what waits, what is quarantined, and the scopes that are due. If another process recorded first,
nothing was recorded, and the whole batch is decided again on the new state.

    message ─▶ dealt with before? ─▶ same content: counted     other content: quarantined
            ─▶ unreadable?        ─▶ quarantined
            ─▶ tenant unknown?    ─▶ waits, up to a bound
            ─▶ decided            ─▶ events, or refused: quarantined
            ─▶ creates a tenant?  ─▶ and what waited for it is decided after it, in the order of arrival
            ─▶ unexpected error?  ─▶ quarantined as internal-error; later messages without a revision wait behind it

A message that meets an unexpected error of ours is quarantined alone: the batch is decided again without it. More than
`Policy.faults_a_minute` of them, of all intakes together, are no fault of messages: then nothing is recorded, and
IntakeHalted is raised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from application.inbound import Inbound, Place, Reread
from application.ingest_batch import Batch, MessageFault
from application.ingest_parts import IntakeLog
from application.ports.clock import Clock, NewId
from application.ports.inbox import KafkaPosition
from application.problem_texts import sentence
from application.stream_cache import Streams
from application.transact import transact
from application.unit_of_work import UnitOfWork
from domain.catalog import Catalog
from domain.errors import Conflict, GuardTripped, PositionLost
from domain.faults import WINDOW, IntakeHalted, explanation
from domain.policy import Policy
from domain.tenant.budget import Budget


@dataclass(slots=True)
class Outcome:
    """What became of the messages of a batch, by name: `recorded`, `stale`, `duplicate`, `waiting`, `quarantined`."""

    counts: Counter[str] = field(default_factory=Counter)
    by_type: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The same by type and name; what is none of our types is `other`."""


@dataclass(slots=True)
class Lifecycle:
    """Loads, decides, records. Any number of processes may run one; not for use by several threads.

    `catalog` and `policy` are what the process has at hand; what was adopted takes their place with the next batch.
    """

    log: IntakeLog
    catalog: Catalog
    policy: Policy
    clock: Clock
    new_id: NewId
    reread: Reread
    on_fault: Callable[[Exception], str] = lambda error: sentence(explanation(error))
    """Tells of an unexpected error, and what the quarantine says of it."""
    streams: Streams = field(init=False)
    whole: Streams = field(init=False)
    """With their personal fields, which matter only to who creates a tenant again, or updates a customer."""

    def __post_init__(self) -> None:
        self.streams = Streams(self.log, personal=False)
        self.whole = Streams(self.log)

    def learn(self) -> None:
        """Use the configuration that was adopted last, as of the streams that were read last."""
        if (found := self.streams.adopted().configuration) is not None:
            self.catalog, self.policy = found.catalog, found.policy

    def intake(
        self,
        messages: Sequence[Inbound],
        positions: Sequence[KafkaPosition] = (),
        *,
        released: int | None = None,
    ) -> Outcome:
        """Deal with `messages`, in order, and move `positions`; all or nothing.

        `released` is the number of the quarantined message that `messages` goes through the front door again for.
        Raises PositionLost when a partition was taken over, Conflict when others record first again and again.
        """
        return self._deal_with(messages, positions, released=released)

    def let_in(self, tenant_id: str) -> Outcome:
        """What waited behind a message of the tenant that has left the quarantine; nothing while another lies there."""
        return self._deal_with((), (), let_in=tenant_id)

    def _deal_with(
        self,
        messages: Sequence[Inbound],
        positions: Sequence[KafkaPosition],
        *,
        released: int | None = None,
        let_in: str | None = None,
    ) -> Outcome:
        budget = Budget()
        faults: dict[Place, str] = {}

        def decide() -> tuple[UnitOfWork, Batch]:
            while True:
                batch = Batch(self, messages, released=released, let_in=let_in, budget=budget, faults=faults)
                try:
                    batch.decide()
                except MessageFault as fault:
                    faults[fault.place] = self.on_fault(fault.error)
                    self._must_be_few(len(faults), released)
                else:
                    self._must_be_few(batch.faults, released)
                    batch.recording.positions.extend(positions)
                    return batch.recording, batch

        def on_conflict(conflict: Conflict) -> None:
            nonlocal budget
            match conflict:
                case PositionLost():
                    raise conflict
                case GuardTripped():
                    budget = budget.after(conflict)
                case _:
                    pass

        batch = transact(self.log, decide, on_conflict=on_conflict)
        batch.keep()
        return Outcome(batch.counts, batch.by_type)

    def _must_be_few(self, faults: int, released: int | None) -> None:
        """Raises IntakeHalted where messages meet unexpected errors too often for it to be theirs; nobody who retries
        one is stopped."""
        if not faults or released is not None:
            return
        lately = faults + self.log.faults_since(self.clock() - WINDOW)
        if lately > self.policy.faults_a_minute:
            raise IntakeHalted(lately)
