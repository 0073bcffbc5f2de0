"""Search of the console: what a text names, by the form of the text, each by an index.

    a number                    the event at that position of the log
    TOPIC/PARTITION/OFFSET      the message that came from there (TOPIC/PARTITION@OFFSET as well)
    SCOPE/STEP/DIRECTION/N      the event that an idempotency key was made of
    SCOPE                       a scope
    anything                    a tenant by its id or the beginning of it, a host, a site name, a message by its id,
                                an event by its id: of the 50,000 positions around the time that the id tells; of the
                                last ones where it is of version 4, which tells none (the log has no index of ids)

An answer is a row with `kind`, `name`, and `tenant_id`, `position` or `number` where it leads somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from domain import event_ids
from domain.stream_name import ScopeId, StreamName

Row = dict[str, Any]
Ask = Callable[[str, Row], list[Row]]

MOST: Final = 20
LOOKED_THROUGH: Final = 50_000
NEAR_TIME: Final = 2_000

_PLACE: Final = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)/(?P<partition>\d{1,9})[/@](?P<offset>\d{1,18})")
_KEY: Final = re.compile(r"(?P<scope>[a-z]+:[^/]+)/(?P<step>[1-7])/(?:ensure|remove)/(?P<generation>\d{1,18})")


def search(ask: Ask, text: str) -> Iterator[Row]:
    """At most some answers of each kind. Raises Unavailable."""
    text = text.strip()
    if not text or "\0" in text:
        return
    if text.isascii() and text.isdigit() and len(text) <= 18:
        yield from _events(ask(_AT, {"position": int(text)}))
    if place := _PLACE.fullmatch(text):
        at = {"topic": place["topic"], "partition": int(place["partition"]), "offset": int(place["offset"])}
        for query in (_CAME_FROM, _QUARANTINED_FROM, _WAITS_FROM):
            yield from _messages(ask(query, at))
    if key := _KEY.fullmatch(text):
        yield from _events(ask(_VERSION, {"stream": key["scope"], "version": int(key["generation"])}))
    if (scope := _scope(text)) is not None:
        yield {"kind": "scope", "name": text, "tenant_id": scope.tenant_id}
    tenants = list(_tenants(ask, text))
    yield from tenants
    yield from _messages(ask(_CAME, {"id": text, "limit": MOST}))
    yield from _messages(ask(_QUARANTINED, {"id": text, "limit": MOST}))
    if not tenants and (event_id := _uuid(text)) is not None:
        mark = ask(_MARK, {})[0]["position"]
        made = event_ids.made_at(event_id)
        around = mark if made is None else _place_of(ask, made, mark)
        # An id that tells its time was recorded right after it, nearly always.
        for reach in (LOOKED_THROUGH,) if made is None else (NEAR_TIME, LOOKED_THROUGH // 2):
            upto = mark if made is None else min(mark, around + reach)
            values = {"id": f'"{event_id}"'.encode(), "after": around - reach, "upto": upto, "limit": MOST}
            if rows := ask(_NAMED, values):
                yield from _events(rows)
                break


def _place_of(ask: Ask, time: datetime, mark: int) -> int:
    """The last position that was recorded at the time or before, as far as a binary search finds it."""
    low, high = 0, mark
    while low < high:
        middle = (low + high + 1) // 2
        found = ask(_RECORDED, {"position": middle})
        if not found or datetime.fromisoformat(found[0]["at"]) <= time:
            low = middle
        else:
            high = min(found[0]["position"], middle) - 1
    return low


def _tenants(ask: Ask, text: str) -> Iterator[Row]:
    found: dict[str, Row] = {}
    prefix = {"text": text, "beyond": text + "\U0010ffff", "limit": MOST}
    for query in (_TENANT, _HOSTS, _SITE, _TENANTS):
        for row in ask(query, prefix):
            found.setdefault(row["tenant_id"], {"kind": "tenant", **row})
    yield from list(found.values())[:MOST]


def _events(rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        title = row["topic"].removeprefix("tenantry.").replace("-", " ")
        tenant_id = StreamName.parse(row["stream"]).tenant_id
        name = f"{title} in {row['stream']}, version {row['version']}"
        yield {"kind": "event", "name": name, "tenant_id": tenant_id, "position": row["position"]}


def _messages(rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        where = f"{row['topic']}/{row['partition']}@{row['offset']}"
        name = f"message {row['id'] or '?'} of {row['source'] or '?'} at {where}: {row['outcome']}"
        yield {"kind": "message", "name": name, "tenant_id": row["tenant_id"], "number": row["number"]}


def _scope(text: str) -> ScopeId | None:
    try:
        return ScopeId.parse(text)
    except ValueError:
        return None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


_MARK: Final = "SELECT position FROM high_water_mark"
_EVENT: Final = "SELECT originator_id AS stream, originator_version AS version, topic, notification_id AS position"
_AT: Final = f"{_EVENT} FROM stored_events WHERE notification_id = %(position)s"
_VERSION: Final = f"{_EVENT} FROM stored_events WHERE originator_id = %(stream)s AND originator_version = %(version)s"
_RECORDED: Final = (
    "SELECT notification_id AS position, convert_from(state, 'UTF8')::json ->> 'at' AS at FROM stored_events"
    " WHERE notification_id <= %(position)s ORDER BY notification_id DESC LIMIT 1"
)
_NAMED: Final = (
    f"{_EVENT} FROM stored_events WHERE notification_id > %(after)s AND notification_id <= %(upto)s"
    # A state begins with its version and its id: the rest of it is not searched, and not unpacked.
    " AND position(%(id)s::bytea IN substring(state, 1, 64)) > 0 ORDER BY notification_id LIMIT %(limit)s"
)
_TENANT: Final = "SELECT tenant_id, coalesce(site_name, tenant_id) AS name FROM sites_base WHERE tenant_id = %(text)s"
_HOSTS: Final = (
    'SELECT tenant_id, host AS name FROM context_hosts WHERE host >= lower(%(text)s) COLLATE "C"'
    ' AND host < lower(%(beyond)s) COLLATE "C" AND tenant_id IS NOT NULL ORDER BY host LIMIT %(limit)s'
)
_SITE: Final = "SELECT tenant_id, site_name AS name FROM site_names WHERE site_name = lower(%(text)s)"
_TENANTS: Final = (
    "SELECT tenant_id, tenant_id AS name FROM contexts WHERE tenant_id >= %(text)s AND tenant_id < %(beyond)s"
    " ORDER BY tenant_id LIMIT %(limit)s"
)
_COLUMNS: Final = 'source, id, topic, partition, "offset"'
_CAME_FROM: Final = (
    f"SELECT {_COLUMNS}, outcome, NULL AS tenant_id, NULL AS number FROM incoming"  # noqa: S608 - ours
    ' WHERE "offset" = %(offset)s AND topic = %(topic)s AND partition = %(partition)s LIMIT 20'
)
_FROM: Final = '"offset" = %(offset)s AND topic = %(topic)s AND partition = %(partition)s LIMIT 20'
_QUARANTINED_FROM: Final = (
    f"SELECT {_COLUMNS}, 'quarantined, ' || state AS outcome, tenant_id, number FROM quarantine"  # noqa: S608
    f" WHERE state = 'open' AND {_FROM}"
)
_WAITS_FROM: Final = f"SELECT {_COLUMNS}, 'waits' AS outcome, tenant_id, NULL AS number FROM waiting WHERE {_FROM}"  # noqa: S608
# The index of messages begins with their sources, which are few: each is looked up by itself.
_CAME: Final = (
    "WITH RECURSIVE sources AS ((SELECT source FROM incoming ORDER BY source LIMIT 1) UNION ALL"
    " SELECT (SELECT i.source FROM incoming AS i WHERE i.source > s.source ORDER BY i.source LIMIT 1)"
    " FROM sources AS s WHERE s.source IS NOT NULL),"
    " few AS (SELECT source FROM sources WHERE source IS NOT NULL LIMIT 100)"
    ' SELECT i.source, i.id, i.topic, i.partition, i."offset", i.outcome, NULL AS tenant_id, NULL AS number'
    " FROM few JOIN incoming AS i ON i.source = few.source AND i.id = %(id)s LIMIT %(limit)s"
)
_QUARANTINED: Final = (
    f"SELECT {_COLUMNS}, 'quarantined, ' || state AS outcome, tenant_id, number FROM quarantine"  # noqa: S608
    " WHERE state = 'open' AND id = %(id)s ORDER BY number LIMIT %(limit)s"
)
