"""Operators' acts: the operator, the time, the change and the reason, for one tenant or for the whole installation.

An act is an event whose cause is a person. It is recorded in the stream of its object: in the stream of a scope or a
tenant (runs, restores, the destroy guard, reconciling), of a tenant's messages (`operator:TENANT`), or of the whole
installation (`operator:`, `orphans:PLAN`, `configuration:adopted`, `service-keys:`,
`export-grants:`). This module collects the acts from the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.event import Recorded
from domain.event_registry import REGISTRY
from domain.operator import Operator
from domain.stream_name import StreamName
from history.timeline import content_of


@dataclass(frozen=True, slots=True)
class RecordedAct:
    """One act. `on` is the stream that it is recorded in; `tenant_id` is none for acts on the whole installation."""

    position: int
    time: datetime
    who: str
    what: str
    on: str
    tenant_id: str | None
    why: str | None
    topic: str
    id: str
    channel: str
    issuer: str
    subject: str
    seen: str | None
    details: Mapping[str, Any] = field(default_factory=dict)


def acts_in(
    events: Iterable[Recorded],
    *,
    by: str | None = None,
    what: str | None = None,
    tenant: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[RecordedAct]:
    """The acts among the events that pass the filters; `by` and `what` are parts of a name.

    `since` is included, `until` is not.
    """
    for recorded in events:
        if recorded.cause.kind != "operator":
            continue
        act = _act(recorded)
        if (
            (by is None or by.casefold() in act.who.casefold())
            and (what is None or what.casefold() in act.what.casefold())
            and (tenant is None or act.tenant_id == tenant)
            and (since is None or act.time >= since)
            and (until is None or act.time < until)
        ):
            yield act


def _act(recorded: Recorded) -> RecordedAct:
    details = {name: value for name, value in content_of(recorded.event).items() if value != []}
    why = details.pop("reason", None)
    details.pop("operator", None)
    operator = Operator.of(recorded.cause)
    return RecordedAct(
        position=recorded.position,
        time=recorded.time,
        who=recorded.cause.source,
        what=REGISTRY[type(recorded.event)].title,
        on=recorded.stream,
        tenant_id=_tenant(recorded.stream),
        why=why,
        topic=recorded.event.TOPIC,
        id=str(recorded.id),
        channel=operator.channel,
        issuer=operator.issuer,
        subject=operator.subject,
        seen=recorded.cause.act.seen if recorded.cause.act else None,
        details=details,
    )


def _tenant(stream: str) -> str | None:
    return StreamName.parse(stream).tenant_id
