"""One attempt at a batch of messages: the state that it grows message by message, and its unit of work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from application.inbound import (
    Inbound,
    Place,
    Readable,
    RefusedMessage,
    dealt_with,
    place_of,
    quarantined,
    set_aside,
)
from application.ingest_parts import BatchParts
from application.ports.inbox import WaitingMessage
from application.ports.work_queue import WorkItem
from application.problem_texts import sentence
from application.unit_of_work import UnitOfWork
from domain import configuration as configurations
from domain import customer as customers
from domain.commands import COMMANDS, Command, CreateTenant, UpdateCustomer
from domain.errors import Rejected
from domain.event import Cause, Event, Recorded
from domain.faults import EXPECTED, INTERNAL_ERROR
from domain.scope.dependencies import concerned
from domain.scope.snapshot import due_of
from domain.scope.steps import Scope
from domain.tenant import budget as budgets
from domain.tenant import decisions as tenant_decisions
from domain.tenant import state as tenants
from domain.tenant.approval import pending_approvals_of
from domain.tenant.budget import Budget
from domain.tenant.closings import request_approval
from domain.tenant.events import (
    LicenseUpdated,
    ProductActivated,
    ProductDeactivated,
    ProductSuspended,
    ProductUnsuspended,
    TenantCreated,
    TenantDestroyed,
    TenantMessageStale,
)
from domain.tenant.guarded import Guarded

_GUARDED = (TenantDestroyed, ProductDeactivated, ProductSuspended, LicenseUpdated, ProductActivated)
"""What the destroy guard may have to count."""

_OF_PRODUCT = (LicenseUpdated, ProductActivated, ProductDeactivated, ProductSuspended, ProductUnsuspended)
"""What writes registers of a product, whose scopes are due then."""

_STALE = (TenantMessageStale, customers.CustomerMessageStale)


class MessageFault(Exception):
    def __init__(self, message: Inbound | WaitingMessage, error: Exception) -> None:
        super().__init__()
        self.place = place_of(message)
        self.error = error


class Batch:
    """One attempt at a batch: the state it grows, and the recording it becomes."""

    def __init__(
        self,
        lifecycle: BatchParts,
        messages: Sequence[Inbound],
        *,
        released: int | None,
        let_in: str | None,
        budget: Budget,
        faults: Mapping[Place, str],
    ) -> None:
        self.recording = UnitOfWork(released=[] if released is None else [released])
        self.faults = 0
        """How many messages are quarantined for an error of ours."""
        self._is_retry = released is not None
        self._faults = faults
        self.counts: Counter[str] = Counter()
        self.by_type: Counter[tuple[str, str]] = Counter()
        self._new_id = lifecycle.new_id
        self._reread = lifecycle.reread
        self._now = lifecycle.clock()
        self._messages = messages
        readable = [message for message in messages if isinstance(message, Readable)]
        ids = {(message.source, message.id) for message in readable}
        self._digests = lifecycle.log.known(ids)
        tenant_ids = {message.tenant_id for message in readable if message.tenant_id is not None}
        if let_in is not None:
            tenant_ids.add(let_in)
        self._waiting = {key: list(found) for key, found in lifecycle.log.waiting(tenant_ids).items()}
        self._faulty = {key: set(found) for key, found in lifecycle.log.faulty(tenant_ids).items()}
        """Tenants with a message in quarantine for an error of ours, and the numbers of those messages."""
        customer_ids = {
            message.command.customer_id for message in readable if isinstance(message.command, UpdateCustomer)
        }
        created = {message.command.tenant_id for message in readable if isinstance(message.command, CreateTenant)}
        self._whole, self._streams = lifecycle.whole, lifecycle.streams
        self._whole.refresh((*map(tenants.stream_of, created), *map(customers.stream_of, customer_ids)))
        self._streams.refresh((*map(tenants.stream_of, tenant_ids - created), configurations.STREAM))
        lifecycle.learn()  # never older than the tenants: it was read with the last of them
        self._catalog = lifecycle.catalog
        self._policy = lifecycle.policy
        self._tenants = {key: (self._whole if key in created else self._streams).tenant(key) for key in tenant_ids}
        self._before = dict(self._tenants)
        self._customers = {key: self._whole.customer(key) for key in customer_ids}
        self._sent_to_wait: dict[tuple[str, str], WaitingMessage] = {}
        self._due: dict[str, None] = {}
        self._touched: dict[tuple[str, str], None] = {}
        self._budget = budget

    def decide(self) -> None:
        for tenant_id in [key for key in self._waiting if key not in self._faulty and self._tenants[key].exists]:
            self._let_in(tenant_id)  # sent to wait on a state that was older than the tenant, or behind a fault
        for numbers in self._faulty.values():
            numbers.difference_update(self.recording.released)
        for message in self._messages:
            if isinstance(message, RefusedMessage):
                self._quarantine(message, message.rule, message.explanation)
            else:
                self._attempt(message, self._take)
        self.recording.waiting.extend(self._sent_to_wait.values())
        self._schedule()
        self._compare()

    def _schedule(self) -> None:
        """The scopes that are due; those of tenants with the same products differ in the tenant alone."""
        found: dict[tuple[str, ...], tuple[Scope, ...]] = {}
        for tenant_id, product in self._touched:
            if self._waits_for_its_site(tenant_id, product):
                continue
            if product not in self._catalog:
                self._due[tenants.stream_of(tenant_id)] = None  # its scopes follow from it
                continue
            tenant = self._tenants[tenant_id]
            alike = (product, *tenant.products)
            if (scopes := found.get(alike)) is None:
                scopes = found[alike] = concerned(tenant, product, catalog=self._catalog)
            for kind, _, key in scopes:
                self._due[str(Scope(kind, tenant_id, key))] = None
        now = self._now
        self.recording.work_items.extend([WorkItem(scope, now) for scope in self._due])

    def _compare(self) -> None:
        """What the tenants have come to, against what they were before the batch."""
        for tenant_id, tenant in self._tenants.items():
            before = self._before[tenant_id]
            if tenant is before:
                continue
            if tenant.products.keys() != before.products.keys() and before.exists:
                self.recording.grown.append(tenant_id)
            if tenant.pending != before.pending:
                self.recording.pending_approvals[tenant_id] = pending_approvals_of(tenant)
            self.recording.live_products += budgets.live_products(tenant) - budgets.live_products(before)

    def keep(self) -> None:
        """What was decided is recorded: the next batch may go on from it."""
        for tenant in self._tenants.values():
            if tenant.version:
                self._streams.keep(tenants.stream_of(tenant.id), tenant)
        for customer in self._customers.values():
            if customer.version:
                self._whole.keep(customers.stream_of(customer.id), customer)

    # -- one message --------------------------------------------------------------------------------------------------

    def _attempt(self, message: Readable, act: Callable[[Readable], None]) -> None:
        """Raises MessageFault where the act meets an error of ours: the next attempt quarantines the message."""
        if self._faults and place_of(message) in self._faults:
            self._quarantine(message, INTERNAL_ERROR, self._faults[place_of(message)])
            return
        try:
            act(message)
        except (MessageFault, *EXPECTED):
            raise
        except Exception as error:
            raise MessageFault(message, error) from error

    def _take(self, message: Readable) -> None:
        key = (message.source, message.id)
        known = self._digests.get(key)
        if known == message.digest and not self._is_retry:
            self.recording.duplicates[key] = self.recording.duplicates.get(key, 0) + 1
            self._count(message, "duplicate")
        elif known is not None and known != message.digest:
            self._quarantine(
                message,
                "same-id-other-content",
                f"id {message.id} of {message.source} came before with other content:"
                " every event needs an id of its own",
            )
        elif message.tenant_id is not None and (not self._exists(message) or self._is_behind_a_fault(message)):
            self._wait(message)
        else:
            self._apply(message)

    def _exists(self, message: Readable) -> bool:
        assert message.tenant_id is not None
        return isinstance(message.command, CreateTenant) or self._tenants[message.tenant_id].exists

    def _is_behind_a_fault(self, message: Readable) -> bool:
        """Whether it must not overtake a message that an error of ours holds; with a revision it may."""
        return message.revision is None and not self._is_retry and bool(self._faulty.get(message.tenant_id or ""))

    def _wait(self, message: Readable) -> None:
        assert message.tenant_id is not None
        backlog = self._waiting.setdefault(message.tenant_id, [])
        if len(backlog) >= self._policy.waiting_limit:
            self._quarantine(
                message,
                "waiting-room-full",
                f"{len(backlog)} messages wait for tenant {message.tenant_id} already: "
                "retry this one when it is created",
            )
            return
        waiting = WaitingMessage(
            tenant_id=message.tenant_id,
            source=message.source,
            id=message.id,
            type=message.type,
            digest=message.digest,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            body=message.body,
            received_at=self._now,
        )
        backlog.append(waiting)
        self._sent_to_wait[waiting.source, waiting.id] = waiting
        self._deal_with(message, "waiting")

    def _apply(self, message: Readable) -> None:
        try:
            events = self._events(message)
        except Rejected as rejection:
            self._quarantine(message, rejection.rule, sentence(rejection))
            return
        self._record(message, events)
        if isinstance(message.command, CreateTenant):
            self._let_in(message.command.tenant_id)

    def _events(self, message: Readable) -> Sequence[Event]:
        match message.command:
            case UpdateCustomer() as command:
                return customers.decide(self._customers[command.customer_id], command, revision=message.revision)
            case command:
                return tenant_decisions.decide(
                    self._tenants[command.tenant_id],
                    command,
                    revision=message.revision,
                    now=self._now,
                    catalog=self._catalog,
                    policy=self._policy,
                )

    def _let_in(self, tenant_id: str) -> None:
        """What waited goes through the registers, in the order of arrival; what still has to wait stays."""
        for waiting in self._waiting.pop(tenant_id, []):
            message = self._read_again(waiting)
            if isinstance(message, Readable) and (not self._exists(message) or self._is_behind_a_fault(message)):
                self._waiting.setdefault(tenant_id, []).append(waiting)
                continue
            if self._sent_to_wait.pop((waiting.source, waiting.id), None) is None:
                self.recording.waited.append((waiting.source, waiting.id))
            if isinstance(message, Readable):
                self._attempt(message, self._apply)
            else:
                self._quarantine(message, message.rule, message.explanation)

    def _read_again(self, waiting: WaitingMessage) -> Inbound:
        if self._faults and (found := self._faults.get(place_of(waiting))):
            return set_aside(waiting, found)
        try:
            return self._reread(waiting)
        except EXPECTED:
            raise
        except Exception as error:
            raise MessageFault(waiting, error) from error

    # -- what becomes of it -------------------------------------------------------------------------------------------

    def _record(self, message: Readable, events: Sequence[Event]) -> None:
        cause = Cause(
            kind="message",
            source=message.source,
            id=message.id,
            time=message.time,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
        )
        correlation, stale = f"{message.source} {message.id}", True
        for decided in events:
            event = self._guarded(message, decided) if isinstance(decided, _GUARDED) else decided
            self.recording.events.append(self._recorded(message.command, event, cause, correlation))
            if not isinstance(event, _STALE):
                stale = False
                self._make_due(event)
        self._deal_with(message, "stale" if stale else "recorded")

    def _guarded(self, message: Readable, event: Event) -> Event:
        """The event, counted by the destroy guard; or a change that awaits approval, where the budget is spent."""
        assert message.tenant_id is not None
        tenant = self._tenants[message.tenant_id]
        if tenants.is_guarded(event, tenant):
            counted = self._counted()
            if tenants.joins_pending(event, tenant) or not self._budget.has_budget(counted):
                return request_approval(event)
            destroyed = counted.destroyed + isinstance(event, TenantDestroyed)
            self.recording.guarded = replace(counted, destroys=counted.destroys + 1, destroyed=destroyed)
        elif budgets.closes(event, tenant, self._now):
            if budgets.holds_closing(tenant, event.product):
                return request_approval(event)
            if not self._before[message.tenant_id].product(event.product).is_open(self._now):
                return event  # opened by the same batch: no customer has had it yet
            counted = self._counted()
            if not self._budget.has_budget_to_close(counted):
                return request_approval(event)
            self.recording.guarded = replace(counted, closings=counted.closings + 1)
        return event

    def _counted(self) -> Guarded:
        rule, closing_rule = self._policy.guard, self._policy.closing_guard
        return self.recording.guarded or Guarded(rule, self._now, closing_rule=closing_rule)

    def _make_due(self, event: Event) -> None:
        if isinstance(event, _OF_PRODUCT):
            self._touched[event.tenant_id, event.product] = None
            return
        match event:
            case customers.CustomerUpdated():
                self._due[customers.stream_of(event.customer_id)] = None
            case TenantCreated():
                self.recording.customer_tenants.append((event.customer_id, event.tenant_id))
                self._due[str(Scope("site", event.tenant_id))] = None
            case TenantDestroyed():
                self._all_due(event.tenant_id)
            case _:
                pass

    def _waits_for_its_site(self, tenant_id: str, product: str) -> bool:
        """Whether the product came with its tenant: nothing of it begins before step 2 of the site, which wakes it.
        Where its license has an end it is due all the same, for a timer."""
        if self._before[tenant_id].exists:
            return False
        license_ = self._tenants[tenant_id].product(product).license
        return license_ is None or license_.value.expires_at is None

    def _all_due(self, tenant_id: str) -> None:
        for name in due_of(self._tenants[tenant_id], self._catalog):
            self._due[name] = None

    def _quarantine(self, message: Inbound, rule: str, explanation: str) -> None:
        if isinstance(message, Readable) and rule != "same-id-other-content":
            self._deal_with(message, "quarantined")
        else:
            self._count(message, "quarantined")
        if rule == INTERNAL_ERROR:
            self.faults += 1
            if message.tenant_id is not None:
                self._faulty.setdefault(message.tenant_id, set()).add(0)
        self.recording.quarantined.append(quarantined(message, rule, explanation, now=self._now))

    def _count(self, message: Inbound, outcome: str) -> None:
        self.counts[outcome] += 1
        self.by_type[message.type if message.type in COMMANDS else "other", outcome] += 1

    def _deal_with(self, message: Readable, outcome: str) -> None:
        self._count(message, outcome)
        self._digests[message.source, message.id] = message.digest
        self.recording.incoming.append(dealt_with(message, outcome, now=self._now))

    # -- state --------------------------------------------------------------------------------------------------------

    def _recorded(self, command: Command, event: Event, cause: Cause, correlation: str) -> Recorded:
        """The event as it is recorded; the state goes on from it."""
        if isinstance(command, UpdateCustomer):
            customer = self._customers[command.customer_id]
            stream, version = customers.stream_of(customer.id), customer.version + 1
            recorded = Recorded(stream, version, self._new_id(), self._now, cause, correlation, event)
            self._customers[customer.id] = customers.evolve(customer, recorded)
        else:
            tenant = self._tenants[command.tenant_id]
            stream, version = tenants.stream_of(tenant.id), tenant.version + 1
            recorded = Recorded(stream, version, self._new_id(), self._now, cause, correlation, event)
            self._tenants[tenant.id] = tenants.evolve(tenant, recorded)
        return recorded
