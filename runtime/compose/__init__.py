"""Composition: which concrete classes work together, one module for each process and each kind of command.

    process.py      Process: settings, addresses, what it has opened
    parts.py        Parts: a Process with the configuration in use, the event log, the topology; nearly every one is
    intake.py       messages from Kafka into the log          rebuild.py      read models anew from the log
    projector.py    the log into read models                  audit.py        the seal, verification, export, import
    provisioner.py  the saga, its executors, the sweep        operators.py    what operators ask for
    relay.py        the outbox to Kafka                       heartbeats.py   signs of life, and the high-water agent
    kafka.py        the chosen client                         prepare.py      databases, migrations, shards, topics
    positions.py    how far the intake is                     resources.py    drift, orphans, databases made anew
    read_models.py  their tables and handlers                 acts.py         operators' acts on the whole

Only this package joins adapters with projections (import-linter holds it). A module is imported by the process or
command that needs it: `tenantry status` imports no migrations, and an intake no executors.

`lifecycle_of(parts)` and its like make a thing when it is first asked for; the same parts give the same thing again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.compose.process import Process, lease_of, new_id, utc_now, worker_name

if TYPE_CHECKING:
    from runtime.compose.parts import Parts

__all__ = ["Parts", "Process", "lease_of", "new_id", "utc_now", "worker_name"]


def __getattr__(name: str) -> Any:
    """`Parts` is imported by those that use it: it brings the domain with it."""
    if name != "Parts":
        raise AttributeError(name)
    from runtime.compose.parts import Parts  # noqa: PLC0415

    return Parts
