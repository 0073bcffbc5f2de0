"""Changes of the installation since a time: what an operator asks first when something broke at two in the morning.

    act              what operators did (history/acts.py)
    catalogue, policy, topology    each value that an adoption changed
    worker           the workers that have started since, each with its version

Of a worker that has ended nothing is known: only those that live have a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from domain import configuration
from domain.configuration import Adopted, ConfigurationAdopted, differences
from domain.event import Recorded
from history.acts import RecordedAct

ChangeKind = Literal["act", "catalogue", "policy", "topology", "worker"]


@dataclass(frozen=True, slots=True)
class InstallationChange:
    """One change. `who` is the operator, or the worker; `position` is none for what is not in the log."""

    time: datetime
    kind: ChangeKind
    what: str
    who: str
    why: str | None = None
    position: int | None = None


def changes(
    *,
    acts: Iterable[RecordedAct],
    adoptions: Sequence[Recorded],
    workers: Iterable[Mapping[str, Any]],
    since: datetime,
) -> list[InstallationChange]:
    """In the order of time. `adoptions` is the whole stream of the configuration; `workers` are rows of heartbeats."""
    found = [
        InstallationChange(act.time, "act", f"{act.what}: {act.on}", act.who, act.why, act.position)
        for act in acts
        if act.topic != ConfigurationAdopted.TOPIC
    ]
    found += _adopted(adoptions, since)
    found += _started(list(workers), since)
    return sorted(found, key=lambda change: (change.time, change.position or 0))


def _adopted(adoptions: Sequence[Recorded], since: datetime) -> Iterator[InstallationChange]:
    before = Adopted()
    for recorded in adoptions:
        after = configuration.evolve(before, recorded)
        if recorded.time >= since and after.event is not None:
            yield from _changed(before, after, recorded)
        before = after


def _changed(before: Adopted, after: Adopted, recorded: Recorded) -> Iterator[InstallationChange]:
    assert after.event is not None
    assert after.configuration is not None
    who, why = after.event.operator, after.event.reason
    if before.configuration is None:
        text = f"configuration {after.version} is the first"
        yield InstallationChange(recorded.time, "catalogue", text, who, why, recorded.position)
        return
    for each in differences(before.configuration, after.configuration):
        text = f"configuration {after.version}: {each.where} {_value(each.adopted)} -> {_value(each.proposed)}"
        yield InstallationChange(recorded.time, _kind(each.where), text, who, why, recorded.position)


def _kind(where: str) -> ChangeKind:
    part = where.partition(".")[0]
    return "catalogue" if part == "catalog" else "policy" if part == "policy" else "topology"


def _value(value: str | None) -> str:
    return "(none)" if value is None else value


def _started(workers: Sequence[Mapping[str, Any]], since: datetime) -> Iterator[InstallationChange]:
    """The workers that have started since, where it may matter beside the versions of those that were there before."""
    before = sorted({str(each["version"]) for each in workers if each["started_at"] < since})
    for each in workers:
        if each["started_at"] >= since:
            version = str(each["version"])
            is_new = bool(before) and version not in before
            text = f"started, version {version}" + (f"; others are {', '.join(before)}" if is_new else "")
            yield InstallationChange(each["started_at"], "worker", text, str(each["name"]))
