"""Cache of folded streams in this process.

An LRU of states by stream. `refresh` asks the log for what is newer than the kept versions, with one query for all of
them; what a process has just recorded itself it may `keep`. A kept state that is behind is harmless: a decision on
it finds a version conflict, and decides again on a fresh one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from application.ports.event_log import EventStreams
from domain import configuration as configurations
from domain import customer as customers
from domain.configuration import Adopted
from domain.customer import Customer
from domain.event import Recorded
from domain.scope import state as provisioning
from domain.scope.state import Provisioning
from domain.scope.steps import Scope
from domain.stream_name import StreamName
from domain.tenant import state as tenants
from domain.tenant.state import Tenant

CAPACITY = 20_000
"""Streams kept; about 2 KiB each."""

State = Tenant | Customer | Provisioning | Adopted


class Streams:
    """Folded streams of one process. Not for use by several threads. Without `personal`, see `EventStreams.load`."""

    def __init__(self, log: EventStreams, *, capacity: int = CAPACITY, personal: bool = True) -> None:
        self._log = log
        self._personal = personal
        self._capacity = capacity
        self._states: OrderedDict[str, State] = OrderedDict()

    def refresh(self, streams: Iterable[str]) -> None:
        """Bring the states of `streams` up to what is committed now."""
        asked = {}
        for stream in streams:
            kept = self._states.get(stream)
            asked[stream] = kept.version if kept is not None else 0
            if kept is not None:
                self._states.move_to_end(stream)
        for stream, events in (self._log.load(asked, personal=self._personal) if asked else {}).items():
            state = self._states.get(stream) or initial(stream)
            for recorded in events:
                state = evolve(state, recorded)
            self._states[stream] = state
        while len(self._states) > max(self._capacity, len(asked)):
            self._states.popitem(last=False)

    def keep(self, stream: str, state: State) -> None:
        """Keep what was folded and recorded elsewhere."""
        self._states[stream] = state
        self._states.move_to_end(stream)

    def forget(self, streams: Iterable[str]) -> None:
        """Drop the states, so that the next refresh reads the streams from their beginning."""
        for stream in streams:
            self._states.pop(stream, None)

    def tenant(self, tenant_id: str) -> Tenant:
        state = self._states.get(tenants.stream_of(tenant_id))
        return state if isinstance(state, Tenant) else Tenant(tenant_id)

    def adopted(self) -> Adopted:
        state = self._states.get(configurations.STREAM)
        return state if isinstance(state, Adopted) else Adopted()

    def customer(self, customer_id: str) -> Customer:
        state = self._states.get(customers.stream_of(customer_id))
        return state if isinstance(state, Customer) else Customer(customer_id)

    def provisionings(self, streams: Mapping[Scope, str]) -> dict[Scope, Provisioning]:
        """The scopes' states; `streams` says how each one's stream is called."""
        kept = self._states.get
        return {
            scope: state if isinstance(state := kept(stream), Provisioning) else _untouched(scope)
            for scope, stream in streams.items()
        }


@lru_cache(maxsize=2_000)
def _untouched(scope: Scope) -> Provisioning:
    """One state for all who ask: a tenant that is new has nothing else, and is asked for at each step."""
    return Provisioning(scope)


def initial(stream: str) -> State:
    """The state of a stream before its first event."""
    kind, key = StreamName.parse(stream)
    match kind:
        case "tenant":
            return Tenant(key)
        case "customer":
            return Customer(key)
        case "configuration":
            return Adopted()
        case _:
            return _untouched(Scope.parse(stream))


def evolve(state: State, recorded: Recorded) -> State:
    """The state after the event."""
    match state:
        case Tenant():
            return tenants.evolve(state, recorded)
        case Customer():
            return customers.evolve(state, recorded)
        case Provisioning():
            return provisioning.evolve(state, recorded)
        case Adopted():
            return configurations.evolve(state, recorded)


def streams_of(tenant: Tenant, scopes: Mapping[Scope, str]) -> Iterator[str]:
    """The streams of the tenant, its customer and its scopes, as far as it is known."""
    yield tenants.stream_of(tenant.id)
    if tenant.exists:
        yield customers.stream_of(customer_id_of(tenant))
    yield from scopes.values()


def customer_id_of(tenant: Tenant) -> str:
    assert tenant.attributes is not None
    return tenant.attributes.value.customer_id
