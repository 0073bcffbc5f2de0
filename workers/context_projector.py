"""The context projector: tenant contexts kept up to date, in a process apart from the other read models.

    wait for the mark ─▶ read what comes next ─▶ fold it into the streams of its tenants ─▶ derive the documents that it
    touches, one event after the other ─▶ one transaction: documents, hosts, position; and the services are woken

One projector is at work, the one with the lock; others stand by. It keeps the folded streams of the tenants that it
met last, and reads those of any other from the log up to where it stands.

A tenant whose events cannot be handled is halted alone: its document says so, and readers answer 503 for it. It is
tried again twice a minute, and after an upgrade.

A sweep derives the documents of all tenants from the log anew, some at a time, beside what goes on, so that nobody
waits: after another configuration was adopted, after another address or another version of the rules, and when an
operator asks for a rebuild. What differs is written at the next position; what does not stays as it is.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from adapters.outage import Outage
from adapters.postgres.contexts import ContextRow, ContextStanding, ContextStore, ContextWrite, HostMove, KeyRow
from adapters.postgres.log_reader import LogReader, Unread
from application.stream_cache import evolve, initial
from domain.configuration import Configuration, ConfigurationAdopted
from domain.errors import Conflict, Fault, Unavailable
from domain.event import Recorded
from domain.scope.state import Provisioning
from domain.scope.steps import Scope
from domain.service_keys import ServiceKeyPublished, ServiceKeyRevoked
from domain.stream_name import StreamName
from domain.tenant.state import Tenant
from projections.contexts import (
    HANDLED,
    WITHOUT_EFFECT,
    ContextRules,
    TenantStreams,
    document_of,
    halted,
    says_the_same,
)
from tenantry_client.context.document import TenantContext, decode, encode
from workers.loops import Listener

log = structlog.get_logger(__name__)

KEPT_TENANTS: Final = 5_000
SWEPT_AT_ONCE: Final = 200
RETRY_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.25
"""How often the projector looks whether a sweep was asked for."""
WINDOW: Final = 50
"""Positions looked at in one read, in batches."""


@dataclass(slots=True)
class _Kept:
    """One tenant: its folded streams, and its document as it is stored, or will be with this batch."""

    streams: TenantStreams
    document: TenantContext | None
    error: str | None = None


@dataclass(slots=True)
class _Batch:
    """What a batch comes to so far."""

    rows: dict[str, ContextRow] = field(default_factory=dict)
    hosts: list[HostMove] = field(default_factory=list)
    keys: list[KeyRow] = field(default_factory=list)


class ContextProjector:
    """Keeps the contexts. `rules_of` gives what documents are derived with under a configuration."""

    def __init__(
        self,
        reader: LogReader,
        store: ContextStore,
        *,
        configuration: Configuration,
        rules_of: Callable[[Configuration], ContextRules],
        batch: int,
        poll_seconds: float,
        listener: Listener,
    ) -> None:
        self._reader = reader
        self._store = store
        self._rules_of = rules_of
        self._rules = rules_of(configuration)
        self._batch = batch
        self._poll = poll_seconds
        self._listener = listener
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._ignored = reader.registry.events - HANDLED
        self._retry_at = 0.0
        self._stood: ContextStanding | None = None
        self._looked = 0.0
        self.position = 0
        self.is_elected = False
        self.outage = Outage("the context projector")

    def run(self, stop: threading.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Project until `stop` is set."""
        ready()
        while not stop.is_set():
            try:
                moved = self.step()
                self.outage.is_over()
                if not moved:
                    self._listener.wait(self._poll)
            except (Conflict, Unavailable, Fault) as error:
                self._forget()
                self.is_elected = False
                self.outage.goes_on(error)
                stop.wait(1.0)

    def _forget(self) -> None:
        """What was kept may not be so any more."""
        self._kept.clear()
        self._stood = None

    def step(self) -> bool:
        """One batch; False where there was nothing to do, or another process is the projector."""
        self.is_elected = self._store.hold()
        if not self.is_elected:
            self._forget()
            return False
        mark, standing = self._reader.mark(), self._standing()
        at = self.position = standing.position
        basis = self._rules.digest
        swept = standing.swept_after if standing.basis == basis else ""
        if mark <= at and swept is None and time.monotonic() < self._retry_at:
            return False
        tenants = self._retried() if swept is None else self._store.after(swept, SWEPT_AT_ONCE)
        differ = self._derive_anew(tenants, at)
        if mark <= at and differ:
            self._store.draw_position()  # what differs is told at a position of its own
            self._listener.wait(self._poll)
            return True
        if swept is None and time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + RETRY_SECONDS
        if mark <= at and swept is None:
            return False
        if swept is not None:
            swept = tenants[-1] if len(tenants) == SWEPT_AT_ONCE else None
        batch = _Batch()
        events, to = self._read(at, mark)
        for tenant_id in differ:
            self._put(batch, tenant_id, to)
        self._apply(events, batch, at)
        rows, was = [*batch.rows.values()], standing.swept_after
        self._store.write(
            ContextWrite(at, to, rows, batch.hosts, batch.keys, basis=basis, was_swept_after=was, swept_after=swept)
        )
        self._stood = ContextStanding(to, basis, swept)
        self.position = to
        while len(self._kept) > KEPT_TENANTS:
            self._kept.popitem(last=False)
        return True

    def _standing(self) -> ContextStanding:
        """Where the tables stand. Nobody else moves them: they are looked at again for a sweep that was asked for."""
        if self._stood is None or time.monotonic() - self._looked >= LOOK_SECONDS:
            self._stood, self._looked = self._store.standing(), time.monotonic()
        return self._stood

    def _read(self, at: int, mark: int) -> tuple[Sequence[Recorded | Unread], int]:
        if mark <= at:
            return (), at
        found = self._reader.read(at, min(mark, at + WINDOW * self._batch), limit=self._batch, ignore=self._ignored)
        return [recorded for _, recorded in found.events], found.upto

    # -- sweeps -------------------------------------------------------------------------------------------------------

    def _retried(self) -> list[str]:
        """Halted tenants, from time to time."""
        return self._store.halted(SWEPT_AT_ONCE) if time.monotonic() >= self._retry_at else []

    def _derive_anew(self, tenants: Sequence[str], at: int) -> list[str]:
        """Read those tenants from the log; the ones whose documents differ from what is stored."""
        for tenant_id in tenants:
            self._kept.pop(tenant_id, None)
        self._load(tenants, at)
        return [each for each in tenants if not says_the_same(self._derived(each, at), self._kept[each].document)]

    # -- events --------------------------------------------------------------------------------------------------------

    def _apply(self, events: Sequence[Recorded | Unread], batch: _Batch, at: int) -> None:
        self._load({each for recorded in events if (each := _tenant_of(recorded)) is not None} - self._kept.keys(), at)
        for recorded in events:
            if isinstance(recorded, Recorded) and isinstance(recorded.event, ConfigurationAdopted):
                event = recorded.event
                self._rules = self._rules_of(Configuration(event.catalog, event.policy, event.topology))
                continue
            tenant_id = _tenant_of(recorded)
            if tenant_id is None:
                batch.keys.extend(_key_of(recorded))
                continue
            self._kept.move_to_end(tenant_id)
            self._fold(self._kept[tenant_id], recorded)
            if isinstance(recorded, Unread) or type(recorded.event) not in WITHOUT_EFFECT:
                self._put(batch, tenant_id, recorded.position)

    def _load(self, tenants: Collection[str], at: int) -> None:
        """Everything of those tenants up to where the contexts stand."""
        if not tenants:
            return
        stored = self._store.documents(tenants)
        for tenant_id in tenants:
            document = stored.get(tenant_id)
            self._kept[tenant_id] = _Kept(
                TenantStreams(Tenant(tenant_id)), decode(document) if document is not None else None
            )
        if at == 0:
            return
        for _, recorded in self._reader.read_of(tenants, (), at, ignore=self._ignored, of=1).events:
            if (named := _tenant_of(recorded)) is not None:
                self._fold(self._kept[named], recorded)

    def _fold(self, kept: _Kept, recorded: Recorded | Unread) -> None:
        """The event in its stream. After one that cannot be handled nothing is folded: it would rest on a gap."""
        if kept.error is not None:
            return
        if isinstance(recorded, Unread):
            kept.error = recorded.reason
            return
        try:
            before = kept.streams.tenant if recorded.stream.startswith("tenant:") else _scope(kept, recorded.stream)
            after = evolve(before, recorded)
        except Exception as error:  # noqa: BLE001 - whatever it is, it stops this tenant and no other
            kept.error = f"event {recorded.id} at position {recorded.position}: {type(error).__name__}"
            log.error("a tenant's context is halted", tenant=kept.streams.tenant.id, reason=kept.error)  # noqa: TRY400
            return
        if isinstance(after, Tenant):
            kept.streams.tenant = after
        elif isinstance(after, Provisioning):
            kept.streams.actual[after.scope] = after

    def _derived(self, tenant_id: str, version: int) -> TenantContext | None:
        kept = self._kept[tenant_id]
        if kept.error is None:
            try:
                return document_of(kept.streams, self._rules, version=version)
            except Exception as error:  # noqa: BLE001 - as above
                kept.error = f"its document cannot be derived at position {version}: {type(error).__name__}"
                log.error("a tenant's context is halted", tenant=tenant_id, reason=kept.error)  # noqa: TRY400
        return halted(kept.document, tenant_id, version=version, reason=kept.error)

    def _put(self, batch: _Batch, tenant_id: str, version: int) -> None:
        """The document as it is now, where it differs from the one before, and what becomes of its host."""
        kept = self._kept[tenant_id]
        document = self._derived(tenant_id, version)
        if says_the_same(document, kept.document):
            return
        was, now = (each.host if each is not None else "" for each in (kept.document, document))
        if was and was != now:
            batch.hosts.append(HostMove(was, tenant_id, version, is_taken=False))
        if now and was != now:
            batch.hosts.append(HostMove(now, tenant_id, version, is_taken=True))
        kept.document = document
        encoded = encode(document) if document is not None else None
        batch.rows[tenant_id] = ContextRow(tenant_id, version, encoded, kept.error)


def _scope(kept: _Kept, stream: str) -> Provisioning:
    found = kept.streams.actual.get(Scope.parse(stream)) or initial(stream)
    assert isinstance(found, Provisioning)
    return found


def _key_of(recorded: Recorded | Unread) -> Iterator[KeyRow]:
    """What becomes of a service key."""
    match recorded.event if isinstance(recorded, Recorded) else None:
        case ServiceKeyPublished(key_id=key_id, public_key=public_key):
            yield KeyRow(key_id, public_key, recorded.position)
        case ServiceKeyRevoked(key_id=key_id):
            yield KeyRow(key_id, None, recorded.position)
        case _:
            pass


def _tenant_of(recorded: Recorded | Unread) -> str | None:
    """The tenant whose context the event may change; None where it is of no tenant."""
    name = StreamName.parse(recorded.stream) if recorded.stream else None
    if name is None or not (name.kind == "tenant" or name.is_of_scope):
        return None
    return name.tenant_id
