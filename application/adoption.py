"""The act of adopting a configuration: loads, decides, records.

The first start on an empty store adopts what it has at hand; from then on only an operator adopts. Scopes that waited
for a shard, or for the secret of a provisioner, are due again in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

from application.ports import Clock, EventLog, NewId, Recording
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
from domain.errors import Conflict
from domain.event import Cause, Recorded

ATTEMPTS = 10
"""How often an adoption is decided again when others record first."""


@dataclass(frozen=True, slots=True)
class Adopting:
    """`living` says what the log holds, by the configuration that was adopted before (None: there was none)."""

    log: EventLog
    living: Callable[[Configuration | None, Configuration], Living]
    clock: Clock
    new_id: NewId

    def adopted(self) -> Adopted:
        """What holds now."""
        return reduce(evolve, self.log.load({STREAM: 0}).get(STREAM, []), Adopted())

    def adopt_first(self, proposed: Configuration, *, reason: str, by: str) -> Recorded | None:
        """Adopt where nothing was adopted yet; None where something was. Raises UsageError."""
        while self.adopted().version == 0:
            try:
                return self._record(Adopted(), proposed, reason=reason, by=by)
            except Conflict:
                continue  # another process has started at the same time
        return None

    def adopt(self, proposed: Configuration, *, reason: str, by: str) -> Recorded | None:
        """Adopt the proposal; None where it is what holds already. Raises UsageError, Conflict."""
        for attempt in range(ATTEMPTS):
            before = self.adopted()
            if before.configuration is not None and not differences(before.configuration, proposed):
                return None
            try:
                return self._record(before, proposed, reason=reason, by=by)
            except Conflict:
                if attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def check(self, proposed: Configuration) -> None:
        """Raises UsageError where the proposal contradicts what lives. Records nothing."""
        before = self.adopted().configuration
        adopt(proposed, before, self.living(before, proposed), reason="checked", by="nobody")

    def _record(self, before: Adopted, proposed: Configuration, *, reason: str, by: str) -> Recorded:
        living = self.living(before.configuration, proposed)
        event = adopt(proposed, before.configuration, living, reason=reason, by=by)
        id_ = self.new_id()
        recorded = Recorded(
            stream=STREAM,
            version=before.version + 1,
            id=id_,
            time=self.clock(),
            cause=Cause(kind="operator", source=by, id=str(id_)),
            correlation=f"{by} {id_}",
            event=event,
        )
        obstacles = [*map(shard_obstacle, event.topology.known), *map(secret_obstacle, event.catalog.known)]
        self.log.record(Recording(events=[recorded], unblocked=obstacles))
        return recorded
