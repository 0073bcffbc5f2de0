"""Report on everything about one tenant in order, as data."""

from __future__ import annotations

from typing import Any

from adapters.postgres.message_history import arrivals_of
from domain.scope.snapshot import scopes_of
from history import as_of
from history import timeline as timelines
from history.timeline import TimelineEntry
from runtime.compose.parts import Parts


def entries_of(parts: Parts, tenant_id: str) -> list[TimelineEntry]:
    """All entries, in the order of time; none where no message of such a tenant has ever come in."""
    events = parts.past.events_of(tenant_id, parts.past.mark())
    messages = {(recorded.cause.source, recorded.cause.id) for recorded in events if recorded.cause.kind == "message"}
    tenant = as_of.snapshot_of(tenant_id, events, catalog=parts.catalog).tenant
    scopes = [str(scope) for scope in scopes_of(tenant, parts.catalog)] if tenant.exists else []
    arrivals = arrivals_of(parts.endpoints.database_url, tenant_id, messages, scopes)
    return timelines.timeline(events, arrivals)


def entry_data(entry: TimelineEntry) -> dict[str, Any]:
    return {
        "time": entry.time,
        "kind": entry.kind,
        "what": entry.what,
        "text": entry.text,
        "position": entry.position,
        "stream": entry.stream,
        "version": entry.version,
        "id": entry.id,
        "product": entry.product,
        "cause": entry.cause,
        "caused_by": entry.caused_by,
        "content": entry.content,
    }
