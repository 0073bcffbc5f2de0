"""What did operators do: who, when, what and why, to one tenant or to the whole?

An act is a fact like any other, whose cause is a person. It stands in the stream of what it was done to: of a scope or
a tenant (runs, restores, the destroy guard, reconciling), of its messages (`operator:TENANT`), or of the whole
(`operator:`, `orphans:PLAN`, `configuration:adopted`, `service-keys:`). Here they come together, from the log alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.event import Recorded
from domain.stream_name import StreamName
from history.timeline import content_of, word_of


@dataclass(frozen=True, slots=True)
class Act:
    """One act. `on` is the stream that it was done to, `tenant_id` none where that is the whole."""

    position: int
    time: datetime
    who: str
    what: str
    on: str
    tenant_id: str | None
    why: str | None
    topic: str
    id: str
    details: Mapping[str, Any] = field(default_factory=dict)


def acts_in(
    facts: Iterable[Recorded],
    *,
    by: str | None = None,
    what: str | None = None,
    tenant: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Act]:
    """The acts among the facts, but for those that are not asked for; `by` and `what` are parts of a name.

    `since` is included, `until` is not.
    """
    for fact in facts:
        if fact.cause.kind != "operator":
            continue
        act = _act(fact)
        if (
            (by is None or by.casefold() in act.who.casefold())
            and (what is None or what.casefold() in act.what.casefold())
            and (tenant is None or act.tenant_id == tenant)
            and (since is None or act.time >= since)
            and (until is None or act.time < until)
        ):
            yield act


def _act(fact: Recorded) -> Act:
    details = content_of(fact.event)
    for name in _THINGS:  # orphans: where, kind and name of each
        things = getattr(fact.event, name, None)
        if things:
            details[name] = [thing.model_dump(mode="json") for thing in things]
    why = details.pop("reason", None)
    details.pop("operator", None)
    return Act(
        position=fact.position,
        time=fact.time,
        who=fact.cause.source,
        what=word_of(fact.event.TOPIC),
        on=fact.stream,
        tenant_id=_tenant(fact.stream),
        why=why,
        topic=fact.event.TOPIC,
        id=str(fact.id),
        details=details,
    )


_THINGS = ("things", "removed", "spared", "left")


def _tenant(stream: str) -> str | None:
    return StreamName.parse(stream).tenant_id
