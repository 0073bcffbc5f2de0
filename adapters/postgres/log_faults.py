"""Log faults: the events of the log that contradict each other, found by queries inside PostgreSQL.

`streams` and `orphans` go through the log in the order of streams, once. The others go through it by position, a range
at a time, so that its progress can be shown. A statement in a range may find bytes that are no JSON: then the
range is looked through row by row (`unreadable`), or in halves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from adapters.postgres.log_copy import LogCopy
from domain.in_force import InForce

Fault = tuple[int, str]
"""The position of the event, and what is wrong with it."""


class LogFaults(LogCopy):
    """Use within `looking()`."""

    def bounds(self) -> tuple[int, int]:
        """Right before the first position, and the last one up to the mark."""
        return int(self._rows("SELECT coalesce(min(notification_id), 1) - 1 FROM stored_events")[0][0]), self.mark()

    def streams(self, upto: int) -> Iterator[Fault]:
        """Versions that are missing in a stream, and versions that were recorded before the one they follow."""
        for position, stream, version, before, behind in self._streamed(_STREAMS, (upto,)):
            if version != before + 1:
                gap = f"{before + 1} is" if version == before + 2 else f"{before + 1} to {version - 1} are"
                yield position, f"gap: event {version} of {stream} follows {before or 'nothing'}: {gap} missing"
            if behind is not None:
                yield position, f"order: event {version} of {stream} stands before event {before}, at {behind}"

    def orphans(self, upto: int) -> Iterator[Fault]:
        """Streams of a scope whose tenant has none."""
        for position, stream in self._streamed(_ORPHANS, (upto,)):
            yield position, f"orphan: {stream} begins here, and its tenant has no stream"

    def unknown(self, after: int, upto: int, schemas: Mapping[str, int]) -> list[Fault]:
        """Events of a topic or a schema version that this version cannot read; `schemas` has the newest by topic."""
        rows = self._rows(_UNKNOWN, (list(schemas), list(schemas.values()), after, upto))
        return [
            (position, f"schema: event {version} of {stream} ({topic}) has schema version {schema}, update Tenantry")
            if known
            else (position, f"topic: event {version} of {stream} has the unknown topic {topic}")
            for position, stream, version, topic, schema, known in rows
        ]

    def without_cause(self, after: int, upto: int) -> list[Fault]:
        """Events that name an event as their cause which is not in the stream they name, or is later.

        `InForce` is left out: time alone brings it about, and it names no event.
        """
        try:
            with self._savepoint():
                rows = self._rows(_CAUSES, (after, upto, InForce.TOPIC))
        except psycopg.DataError:  # an event here is no JSON, and `unreadable` names it: look at those around it
            if upto - after <= 1:
                return []
            middle = (after + upto) // 2
            return [*self.without_cause(after, middle), *self.without_cause(middle, upto)]
        return [
            (
                position,
                f"cause: event {version} of {stream} was caused by {id_} of {source}, which is not there before it",
            )
            for position, stream, version, source, id_ in rows
        ]

    def unreadable(self, after: int, upto: int) -> Iterator[Fault]:
        """Events whose state is no JSON object with a schema version."""
        try:
            with self._savepoint():
                if self._rows(_ALL_JSON, (after, upto))[0][0]:
                    return
        except psycopg.DataError:
            pass
        for position, stream, version, _, state in self.rows(after, upto, limit=upto - after):
            try:
                fits = isinstance(json.loads(state)["v"], int)
            except (ValueError, KeyError, TypeError):
                fits = False
            if not fits:
                yield position, f"state: event {version} of {stream} has a state that is none of Tenantry"

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        assert self._connection is not None
        with self._connection.transaction():
            yield

    def _streamed(self, statement: str, parameters: tuple[object, ...]) -> Iterator[tuple[Any, ...]]:
        """Rows by a cursor of the server's: however many there are, few are here at a time."""
        assert self._connection is not None
        with self._connection.cursor("faults") as curs:
            curs.itersize = 1_000
            yield from curs.execute(statement.encode(), parameters)


_STREAMS: Final = """
SELECT notification_id, originator_id, originator_version, before,
       CASE WHEN stood > notification_id THEN stood END AS behind
FROM (
    SELECT notification_id, originator_id, originator_version,
           lag(originator_version, 1, 0::bigint) OVER stream AS before, lag(notification_id) OVER stream AS stood
    FROM stored_events WHERE notification_id <= %s
    WINDOW stream AS (PARTITION BY originator_id ORDER BY originator_version)
) AS followed
WHERE originator_version <> before + 1 OR stood > notification_id
ORDER BY notification_id
"""

_ORPHANS: Final = """
SELECT min(notification_id), originator_id
FROM stored_events AS of_scope
WHERE notification_id <= %s
  AND split_part(originator_id, ':', 1) IN ('site', 'family', 'product')
  AND NOT EXISTS (
      SELECT FROM stored_events AS of_tenant
      WHERE of_tenant.originator_id = 'tenant:' || split_part(of_scope.originator_id, ':', 2))
GROUP BY originator_id ORDER BY 1
"""

_UNKNOWN: Final = """
SELECT notification_id, originator_id, originator_version, e.topic, schema, k.topic IS NOT NULL
FROM (
    SELECT *, substring(encode(substr(state, 1, 20), 'escape') FROM '^[{]"v":([0-9]{1,9}),')::int AS schema
    FROM stored_events
) AS e
LEFT JOIN unnest(%s::text[], %s::int[]) AS k (topic, newest) ON k.topic = e.topic
WHERE notification_id > %s AND notification_id <= %s AND (k.topic IS NULL OR schema > k.newest)
ORDER BY notification_id
"""

_CAUSES: Final = """
SELECT notification_id, originator_id, originator_version, source, id
FROM (
    SELECT notification_id, originator_id, originator_version,
           cause ->> 'kind' AS kind, cause ->> 'source' AS source, cause ->> 'id' AS id
    FROM (SELECT *, convert_from(state, 'UTF8')::json -> 'cause' AS cause FROM stored_events
          WHERE notification_id > %s AND notification_id <= %s
          AND position('"kind":"event"'::bytea IN state) > 0 AND topic <> %s) AS caused
) AS e
WHERE kind = 'event' AND NOT EXISTS (
    SELECT FROM stored_events AS c
    WHERE c.originator_id = e.source AND c.notification_id < e.notification_id
      AND position(convert_to(e.id, 'UTF8') IN substr(c.state, 1, 64)) > 0)
ORDER BY notification_id
"""

_ALL_JSON: Final = """
SELECT coalesce(bool_and(coalesce(json_typeof(convert_from(state, 'UTF8')::json -> 'v') = 'number', false)), true)
FROM stored_events WHERE notification_id > %s AND notification_id <= %s
"""
