"""What does an event log look like that fits into a test's memory?

`MemoryEventLog` keeps the contract of `application.ports.log_store.LogStore` as PostgresEventLog does: a recording is
checked whole before anything of it is kept. It counts: `recordings` made, `conflicts` answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

import msgspec
from msgspec.structs import replace

from application.ports.clock import Clock
from application.ports.inbox import Incoming, QuarantinedMessage, WaitingMessage
from application.ports.work_queue import Lease, Reply, WorkItem, latest_end
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, GuardTripped, PositionLost
from domain.event import Recorded
from domain.faults import INTERNAL_ERROR
from domain.personal import personal_paths, replace_personal
from domain.scope.state import StepStarted
from domain.stored_form import as_json
from domain.tenant.guarded import Guarded, PendingApprovals
from domain.times import moved


@dataclass(slots=True)
class Seen:
    """A row of the incoming messages."""

    incoming: Incoming
    duplicates: int = 0


@dataclass(slots=True)
class Quarantined:
    """A row of the quarantine."""

    message: QuarantinedMessage
    state: str = "open"
    repeats: int = 0


class MemoryEventLog:
    """`application.ports.log_store.LogStore` in memory, safe to use from many threads.

    `before_record` is called ahead of each recording, so that a test can let somebody else be first.
    """

    def __init__(self, *, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self.events: list[Recorded] = []
        self.incoming: dict[tuple[str, str], Seen] = {}
        self.quarantine: dict[int, Quarantined] = {}
        self.work_items: dict[int, WorkItem] = {}
        self.leases: dict[str, Lease] = {}
        self.obstacles: set[tuple[str, str]] = set()
        self.before_record: Callable[[UnitOfWork], None] = lambda recording: None
        self.held: dict[str, PendingApprovals] = {}
        self.replies: dict[tuple[str, int], Reply] = {}
        self.recordings = 0
        self.conflicts = 0
        self._clock = clock
        self._lock = Lock()
        self._streams: dict[str, list[Recorded]] = {}
        self._places: set[tuple[str, int]] = set()
        self._positions: dict[tuple[str, int], int] = {}
        self._waiting: dict[tuple[str, str], WaitingMessage] = {}
        self._customer_tenants: set[tuple[str, str]] = set()
        self._numbers = 0
        self._guard_at = datetime.min.replace(tzinfo=UTC)
        self._guarded: list[tuple[datetime, int]] = []
        self._closed: list[tuple[datetime, int]] = []
        self._destroyed = 0
        self._live_products = 0

    # -- writing ------------------------------------------------------------------------------------------------------

    def record(self, recording: UnitOfWork) -> None:
        """See `EventLog.record`."""
        self.before_record(recording)
        with self._lock:
            try:
                self._check(recording)
            except Conflict:
                self.conflicts += 1
                raise
            self._keep(recording)
            self.recordings += 1

    def _check(self, recording: UnitOfWork) -> None:
        for position in recording.positions:
            if self._positions.get((position.topic_id, position.partition)) != position.expected:
                raise PositionLost(f"partition {position.partition} of {position.topic} was moved on by another intake")
        for lease in (*recording.leases, *recording.kept, *(lease for lease, _ in recording.renewals)):
            held = self.leases.get(lease.scope)
            _expect(held is not None and held.token == lease.token, "a lease was lost")
        for number in (*recording.released, *(each.number for each in recording.discarded)):
            row = self.quarantine.get(number)
            _expect(row is not None and row.state == "open", "a quarantined message is not open any more")
        for incoming in recording.incoming:
            seen = self.incoming.get((incoming.source, incoming.id))
            _expect(
                seen is None
                or (seen.incoming.outcome in ("waiting", "quarantined") and seen.incoming.digest == incoming.digest),
                "another intake dealt with the same message",
            )
        if recording.waited or recording.waiting or recording.customer_tenants:
            self._check_waiting_rooms(recording)
        for stream, version in recording.unmoved.items():
            _expect((stream, version + 1) not in self._places, f"somebody recorded in {stream} meanwhile")
        places = {(event.stream, event.version) for event in recording.events}
        if recording.guarded is not None:
            self._check_guard(recording.guarded, self._live_products + recording.live_products)
        free = len(places) == len(recording.events) and self._places.isdisjoint(places)
        _expect(free, "somebody else recorded first")

    def _check_waiting_rooms(self, recording: UnitOfWork) -> None:
        for key in recording.waited:
            _expect(key in self._waiting, "another intake let the same message in")
        keys = [(waiting.source, waiting.id) for waiting in recording.waiting]
        taken = self._waiting.keys() - set(recording.waited)
        _expect(len(set(keys)) == len(keys) and not taken & set(keys), "the message waits already")
        created = {tenant_id for _, tenant_id in recording.customer_tenants}
        faulty = {
            row.message.tenant_id
            for number, row in self.quarantine.items()
            if _is_fault(row) and number not in recording.released
        }
        faulty |= {message.tenant_id for message in recording.quarantined if message.rule == INTERNAL_ERROR}
        left = {self._waiting[key].tenant_id for key in taken}
        _expect(not (created - faulty) & left, "a message was sent to wait for a tenant that is created here")
        rooms = {waiting.tenant_id for waiting in recording.waiting} - created - faulty
        there = {tenant_id for tenant_id in rooms if (f"tenant:{tenant_id}", 1) in self._places}
        _expect(not there, "what a message should wait for has come about")

    def _check_guard(self, guarded: Guarded, live_products: int) -> None:
        at = max(guarded.at, self._guard_at)
        passed = sum(facts for then, facts in self._guarded if then > moved(at, -guarded.rule.window))
        left = guarded.rule.limit(len(self._customer_tenants) - self._destroyed) - passed
        rule = guarded.closing_rule or guarded.rule
        closed = sum(closings for then, closings in self._closed if then > moved(at, -rule.window))
        closings_left = rule.limit(live_products) - closed
        is_too_much = guarded.destroys and guarded.destroys > left
        if is_too_much or (guarded.closings and guarded.closings > closings_left):
            raise GuardTripped(
                max(0, left) if guarded.destroys else None,
                max(0, closings_left) if guarded.closings else None,
            )

    def _keep(self, recording: UnitOfWork) -> None:
        for position in recording.positions:
            self._positions[position.topic_id, position.partition] = position.next_offset
        for lease in recording.leases:
            del self.leases[lease.scope]
            for number in lease.work_items:
                self.work_items.pop(number, None)
        for lease, until in recording.renewals:
            self.leases[lease.scope] = replace(self.leases[lease.scope], until=until)
        self._keep_messages(recording)
        self._keep_guard(recording)
        self._customer_tenants.update(recording.customer_tenants)
        self.obstacles.update((blocked.obstacle, blocked.scope) for blocked in recording.blocked)
        if recording.unblocked:
            freed = {pair for pair in self.obstacles if pair[0] in recording.unblocked}
            self.obstacles -= freed
            for scope in sorted({scope for _, scope in freed}):
                self._wake(scope, self._clock())
        for reply in recording.replies:
            awaited = self.replies.get((reply.scope, reply.step))
            if awaited is not None and _is_news(reply, awaited):
                self.replies[reply.scope, reply.step] = reply
                self._wake(reply.scope, self._clock())
        moved_on = [
            each for each, version in recording.rescheduled.items() if (f"tenant:{each}", version + 1) in self._places
        ]
        for work_item in (*recording.work_items, *(WorkItem(f"tenant:{each}", self._clock()) for each in moved_on)):
            self._wake(work_item.scope, work_item.at)
        for event in recording.events:
            said = event.stream, event.version, event.id, event.time, event.cause, event.correlation, event.event
            fact = Recorded(*said, position=len(self.events) + 1)
            self.events.append(fact)
            self._places.add((event.stream, event.version))
            self._streams.setdefault(event.stream, []).append(fact)

    def _keep_guard(self, recording: UnitOfWork) -> None:
        if recording.guarded is not None:
            self._destroyed += recording.guarded.destroyed
            if recording.guarded.destroys or recording.guarded.closings:
                self._guard_at = max(self._guard_at, recording.guarded.at)
                self._guarded.append((self._guard_at, recording.guarded.destroys))
                self._closed.append((self._guard_at, recording.guarded.closings))
        self._live_products += recording.live_products
        for tenant_id, held in recording.pending_approvals.items():
            self.held.pop(tenant_id, None)
            if held is not None:
                self.held[tenant_id] = held

    def _keep_messages(self, recording: UnitOfWork) -> None:
        for number in recording.released:
            self.quarantine[number].state = "retried"
        for discarded in recording.discarded:
            self.quarantine[discarded.number].state = "discarded"
        for incoming in recording.incoming:
            seen = self.incoming.setdefault((incoming.source, incoming.id), Seen(incoming))
            seen.incoming = msgspec.structs.replace(seen.incoming, outcome=incoming.outcome, is_ahead=incoming.is_ahead)
        for key, repeats in recording.duplicates.items():
            if key in self.incoming:
                self.incoming[key].duplicates += repeats
        for key in recording.waited:
            del self._waiting[key]
        for waiting in recording.waiting:
            self._waiting[waiting.source, waiting.id] = waiting
        for message in recording.quarantined:
            self._put_in_quarantine(message)

    def _put_in_quarantine(self, message: QuarantinedMessage) -> None:
        for row in self.quarantine.values():
            if row.state == "open" and row.message.digest == message.digest:
                row.repeats += 1
                return
        self.quarantine[self._number()] = Quarantined(message)

    def _wake(self, scope: str, at: datetime) -> None:
        self.work_items[self._number()] = WorkItem(scope, at)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    # -- reading ------------------------------------------------------------------------------------------------------

    def load(self, streams: Mapping[str, int], *, personal: bool = True) -> dict[str, list[Recorded]]:
        """See `EventLog.load`."""
        with self._lock:
            found = {
                stream: facts[version:]
                for stream, version in streams.items()
                if len(facts := self._streams.get(stream, ())) > version
            }
        return {
            stream: list(facts) if personal else [_impersonal(fact) for fact in facts]
            for stream, facts in found.items()
        }

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """See `EventFeed.read`."""
        with self._lock:
            return self.events[after : after + limit]

    def last_position(self) -> int:
        """The position of the last fact, 0 while there is none."""
        return len(self.events)

    def known(self, ids: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """See `Inbox.known`."""
        with self._lock:
            return {key: self.incoming[key].incoming.digest for key in ids if key in self.incoming}

    def waiting(self, tenant_ids: Iterable[str]) -> dict[str, list[WaitingMessage]]:
        """See `Inbox.waiting`."""
        desired_state = set(tenant_ids)
        found: dict[str, list[WaitingMessage]] = {}
        with self._lock:
            for message in self._waiting.values():
                if message.tenant_id in desired_state:
                    found.setdefault(message.tenant_id, []).append(message)
        return found

    def faulty(self, tenant_ids: Iterable[str]) -> dict[str, list[int]]:
        """See `Inbox.faulty`."""
        desired_state = set(tenant_ids)
        found: dict[str, list[int]] = {}
        with self._lock:
            for number, row in self.quarantine.items():
                if _is_fault(row) and row.message.tenant_id in desired_state:
                    found.setdefault(row.message.tenant_id or "", []).append(number)
        return found

    def faults_since(self, moment: datetime) -> int:
        """See `Inbox.faults_since`."""
        with self._lock:
            messages = [row.message for row in self.quarantine.values()]
        return sum(message.rule == INTERNAL_ERROR and message.received_at > moment for message in messages)

    def tenants_of(self, customer_id: str) -> Sequence[str]:
        """See `CustomerTenants.tenants_of`."""
        return sorted(tenant for customer, tenant in self._customer_tenants if customer == customer_id)

    def streams_after(self, kind: str, key: str, limit: int) -> Sequence[str]:
        """See `StreamPages.streams_after`."""
        with self._lock:
            keys = (stream.partition(":")[2] for stream in self._streams if stream.startswith(f"{kind}:"))
            return sorted(each for each in keys if each > key)[:limit]

    def started_after(self, position: int) -> Sequence[str]:
        """See `Intents.started_after`."""
        with self._lock:
            events = self.events[position:]
        return sorted({recorded.stream for recorded in events if isinstance(recorded.event, StepStarted)})

    def advance_mark(self) -> int:
        """See `Intents.advance_mark`: what is recorded here is readable at once."""
        return self.last_position()

    def awaiting_approval(self) -> Sequence[str]:
        """See `ApprovalIndex.awaiting_approval`."""
        return sorted(self.held)

    def positions(self, topic_ids: Iterable[str]) -> dict[tuple[str, int], int]:
        """The next offset to read, by (topic id, partition)."""
        desired_state = set(topic_ids)
        return {key: offset for key, offset in self._positions.items() if key[0] in desired_state}

    def is_due(self, now: datetime) -> bool:
        """Whether a claim would find anything."""
        ripe = [work_item.scope for work_item in self.work_items.values() if work_item.at <= now]
        return any(scope not in self.leases or self.leases[scope].until <= now for scope in ripe)

    def scheduled(self, names: Iterable[str]) -> dict[str, datetime]:
        """See `WorkQueue.scheduled`."""
        asked, found = set(names), dict[str, datetime]()
        with self._lock:
            for work_item in self.work_items.values():
                if work_item.scope in asked:
                    found[work_item.scope] = min(work_item.at, found.get(work_item.scope, work_item.at))
        return found

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
        """See `WorkQueue.claim`: the longest due first."""
        with self._lock:
            latest = latest_end(now, until)
            leased = {scope for scope, lease in self.leases.items() if now < lease.until <= latest}
            due: dict[str, list[int]] = {}
            ripe = [
                (work_item.at, number, work_item.scope)
                for number, work_item in self.work_items.items()
                if work_item.at <= now
            ]
            for _, number, scope in sorted(ripe):
                if scope not in leased:
                    due.setdefault(scope, []).append(number)
            if not due:
                return []
            taken = Counter[str](dict.fromkeys(but_not_of, limit if share is None else share))
            claimed: list[Lease] = []
            for scope, work_items in due.items():
                tenant_id = scope.split(":")[1]
                if len(claimed) < limit and taken[tenant_id] < (limit if share is None else share):
                    taken[tenant_id] += 1
                    claimed.append(Lease(scope, owner, self._number(), tuple(work_items), until))
            self.leases.update({lease.scope: lease for lease in claimed})
        return claimed


def _expect(truth: bool, otherwise: str) -> None:
    if not truth:
        raise Conflict(f"{otherwise}: decide again")


def _is_fault(row: Quarantined) -> bool:
    return row.state == "open" and row.message.rule == INTERNAL_ERROR


def _is_news(reply: Reply, awaited: Reply) -> bool:
    is_later = None in (reply.signed_at, awaited.signed_at) or (awaited.signed_at or 0) < (reply.signed_at or 0)
    return reply.key == awaited.key and reply.text != awaited.text and is_later


def _impersonal(fact: Recorded) -> Recorded:
    event, paths = fact.event, personal_paths(type(fact.event))
    if not paths:
        return fact
    sealed = replace_personal(as_json(event), paths, lambda value, path: "(sealed)")
    return msgspec.structs.replace(fact, event=msgspec.convert(sealed, type(event)))
