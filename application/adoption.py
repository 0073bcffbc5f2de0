"""The act of adopting a configuration: loads, decides, records.

The first start on an empty store adopts what it has at hand; from then on only an operator adopts. Scopes that waited
for a shard, or for the secret of a provisioner, are due again in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

from application.operator_event import OperatorAct
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.transact import transact
from application.unit_of_work import UnitOfWork
from domain.configuration import (
    STREAM,
    Adopted,
    Configuration,
    Living,
    adopt,
    differences,
    evolve,
    secret_obstacle,
    shard_obstacle,
)
from domain.event import Recorded
from domain.operator import Operator


@dataclass(frozen=True, slots=True)
class Adoption:
    """`living` says what the log holds, by the configuration that was adopted before (None: there was none)."""

    log: EventLog
    living: Callable[[Configuration | None, Configuration], Living]
    clock: Clock
    new_id: NewId

    def adopted(self) -> Adopted:
        """What holds now."""
        return reduce(evolve, self.log.load({STREAM: 0}).get(STREAM, []), Adopted())

    def adopt_first(self, proposed: Configuration, *, reason: str, by: Operator) -> Recorded | None:
        """Adopt where nothing was adopted yet; None where something was. Raises UsageError."""

        def decide() -> tuple[UnitOfWork, Recorded | None]:
            before = self.adopted()  # another process may have started at the same time
            return (
                self._decided(before, proposed, reason=reason, by=by) if before.version == 0 else (UnitOfWork(), None)
            )

        return transact(self.log, decide)

    def adopt(self, proposed: Configuration, *, reason: str, by: Operator) -> Recorded | None:
        """Adopt the proposal; None where it is what holds already. Raises UsageError, Conflict."""

        def decide() -> tuple[UnitOfWork, Recorded | None]:
            before = self.adopted()
            if before.configuration is not None and not differences(before.configuration, proposed):
                return UnitOfWork(), None
            return self._decided(before, proposed, reason=reason, by=by)

        return transact(self.log, decide)

    def check(self, proposed: Configuration) -> None:
        """Raises UsageError where the proposal contradicts what lives. Records nothing."""
        before = self.adopted().configuration
        adopt(proposed, before, self.living(before, proposed), reason="checked", by="nobody")

    def _decided(
        self, before: Adopted, proposed: Configuration, *, reason: str, by: Operator
    ) -> tuple[UnitOfWork, Recorded]:
        living = self.living(before.configuration, proposed)
        event = adopt(proposed, before.configuration, living, reason=reason, by=str(by))
        act = OperatorAct.begun(by=by, clock=self.clock, new_id=self.new_id)
        recorded = act.recorded(event, stream=STREAM, version=before.version + 1)
        obstacles = [*map(shard_obstacle, event.topology.known), *map(secret_obstacle, event.catalog.known)]
        return UnitOfWork(events=[recorded], unblocked=obstacles), recorded
