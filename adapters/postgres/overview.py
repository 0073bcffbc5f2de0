"""Overview: the state of the whole installation.

The questions behind `tenantry status` and `tenantry tenants`: counts and lags from the control database, one short
query each, so that they answer at any size and while everything else is busy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from adapters.postgres.connection import connect
from adapters.postgres.errors import answering
from adapters.postgres.live_workers import alive
from domain.scope.states import SCOPE_STATES
from domain.stream_name import CONFIGURATION_STREAM

Row = dict[str, Any]


_ONE: Final = {
    "log": "SELECT position FROM high_water_mark",
    "relay": "SELECT coalesce((SELECT max(position) FROM outbox), 0) AS written, coalesce((SELECT position FROM"
    " relay_positions ORDER BY updated_at DESC LIMIT 1), 0) AS position",
    "seal": "SELECT coalesce((SELECT substring(note FROM '\\nposition ([0-9]{1,18})\\n')::bigint FROM seal_checkpoints"
    " ORDER BY number DESC LIMIT 1), 0) AS position",
    "saga": "SELECT count(DISTINCT scope) AS due,"
    " coalesce(extract(epoch FROM now() - min(due_at)), 0)::float AS oldest_due_seconds"
    " FROM wakes WHERE due_at <= now()",
    "messages": "SELECT (SELECT count(*) FROM waiting) AS waiting,"
    " (SELECT extract(epoch FROM now() - min(received_at))::float FROM waiting) AS oldest_waiting,"
    " (SELECT count(*) FROM quarantine WHERE state = 'open') AS quarantined,"
    " (SELECT count(*) FROM quarantine WHERE state = 'open' AND rule = 'undecodable') AS undecodable,"
    " (SELECT coalesce(sum(duplicates), 0)::bigint FROM incoming) AS duplicates,"
    " (SELECT count(*) FROM incoming) AS seen,"
    " (SELECT count(*) FROM incoming WHERE outcome = 'stale') AS stale,"
    " (SELECT count(*) FROM quarantine WHERE state = 'open' AND rule = 'internal-error') AS internal_errors",
    "ahead": "SELECT count(*) AS messages, max(received_at) AS last_at, (array_agg(DISTINCT source))[:5] AS sources"
    " FROM incoming WHERE is_ahead",
    "guard": "SELECT coalesce(sum(changes), 0)::bigint AS awaiting_approval,"
    " coalesce(sum(closings), 0)::bigint AS closings, count(*) AS tenants, min(since) AS since,"
    " extract(epoch FROM now() - min(since))::float AS oldest_seconds FROM held_by_guard",
    "sweep": "SELECT started_at, finished_at, tenants, handed_over, silent AS unreachable, stopped_at, reason"
    " FROM sweeps",
    "database": "SELECT current_setting('transaction_read_only') = 'on' AS read_only,"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,"
    " current_setting('max_connections')::int AS max_connections",
}
"""What `status` asks, a row each."""

_CONTEXTS: Final = (
    "SELECT position, (SELECT count(*) FROM contexts WHERE halted IS NOT NULL) AS halted,"
    " array(SELECT tenant_id FROM contexts WHERE halted IS NOT NULL ORDER BY tenant_id LIMIT 5) AS halted_tenants"
    " FROM context_log"
)

_MANY: Final = {
    "projections": "SELECT DISTINCT ON (name) name, min(position) OVER (PARTITION BY name) AS position,"
    " halted_at IS NOT NULL AS halted, halted_reason AS reason, halted_event::text AS event"
    " FROM projection_positions ORDER BY name, halted_at NULLS LAST, position",
    "scopes": "SELECT state, count(*) AS count FROM provisionings GROUP BY state",
    "outages": "SELECT substr(obstacle, 13) AS away, count(*) AS scopes, min(updated_at) AS since,"
    " extract(epoch FROM now() - min(updated_at))::float AS seconds"
    " FROM provisionings WHERE outcome IS NULL AND obstacle LIKE 'unreachable:%%'"
    " GROUP BY obstacle ORDER BY min(updated_at)",
    "kafka": "SELECT topic, partition, topic_id, next_offset FROM kafka_positions"
    " ORDER BY topic, partition, updated_at",
    "configuration": "SELECT originator_version AS version, convert_from(state, 'UTF8')::json AS state"
    " FROM stored_events WHERE originator_id = %(configuration)s ORDER BY originator_version DESC LIMIT 1",
    "shards": "SELECT name, used FROM shards WHERE used > 0 ORDER BY name",
    # What keeps the server from cleaning up rows that are done with, as far as our user may see it.
    "open_longest": "SELECT who, since, extract(epoch FROM now() - since)::float AS seconds FROM ("
    "SELECT 'a transaction of process ' || pid || ' (' || coalesce(nullif(application_name, ''), usename, '?') || ')'"
    " AS who, xact_start AS since FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()"
    " UNION ALL SELECT 'the prepared transaction ' || quote_literal(gid), prepared FROM pg_prepared_xacts"
    " WHERE database = current_database()"
    ") AS opened WHERE since IS NOT NULL ORDER BY since LIMIT 1",
}
"""What `status` asks, some rows each."""


def status(url: str) -> Row:
    """Positions, lags, counts; ages in seconds. `contexts` is None in a database that awaits their migration.

    Raises Unavailable.
    """
    with _connect(url) as connection:
        one = {name: _one(connection, query) for name, query in _ONE.items()}
        named = {"configuration": CONFIGURATION_STREAM}
        many = {name: connection.execute(query.encode(), named).fetchall() for name, query in _MANY.items()}
        has_contexts = _one(connection, "SELECT to_regclass('context_log') IS NOT NULL AS found")["found"]
        contexts = _one(connection, _CONTEXTS) if has_contexts else None
    last, relay = one["log"]["position"], one["relay"]
    counts = {row["state"]: row["count"] for row in many["scopes"]}
    return {
        **one,
        "database": {"answers": True, **one["database"], "open_longest": next(iter(many["open_longest"]), None)},
        "kafka": many["kafka"],
        "projections": [{**row, "lag": max(0, last - row["position"])} for row in many["projections"]],
        "contexts": contexts and {**contexts, "lag": max(0, last - contexts["position"])},
        "relay": {"position": relay["position"], "lag": max(0, relay["written"] - relay["position"])},
        "seal": {**one["seal"], "lag": max(0, last - one["seal"]["position"])},
        "saga": {**one["saga"], "oldest_due_seconds": round(one["saga"]["oldest_due_seconds"], 3)},
        "scopes": {state.replace("_", " "): counts.get(state, 0) for state in reversed(SCOPE_STATES)},
        "outages": many["outages"],
        "configuration": _configuration(next(iter(many["configuration"]), None), many["shards"]),
        "workers": alive(url),
    }


def _configuration(adopted: Row | None, used: list[Row]) -> Row:
    """Which one is adopted, and the shards that it lacks though families live on them."""
    if adopted is None:
        return {"version": 0, "adopted_at": None, "by": None, "reason": None, "left_shards": {}}
    data = adopted["state"]["data"]
    offered = {shard["name"] for shard in data["topology"]["shards"]}
    return {
        "version": adopted["version"],
        "adopted_at": adopted["state"]["at"],
        "by": data["operator"],
        "reason": data["reason"],
        "left_shards": {row["name"]: row["used"] for row in used if row["name"] not in offered},
    }


def tenants(url: str, *, level: str | None = None, state: str | None = None, limit: int = 1000) -> list[Row]:
    """The tenants with the level and state of their products; only those with a product (or site) of that kind.

    `state` of a tenant is the worst of its scopes.
    """
    query = """
    WITH known AS (
        SELECT p.tenant_id,
               coalesce(jsonb_object_agg(p.key, coalesce(p.level, 'absent')) FILTER (WHERE p.kind = 'product'), '{}')
                   AS products,
               (array_agg(p.state ORDER BY array_position(
                   %(states)s, p.state)))[1] AS state,
               bool_or(p.kind = 'product' AND coalesce(p.level, 'absent') = %(level)s) AS at_level
        FROM provisionings p GROUP BY p.tenant_id
    )
    SELECT t.tenant_id, s.site_name, s.customer_id, s.access, t.products, t.state
    FROM known t LEFT JOIN sites s USING (tenant_id)
    WHERE (%(level)s::text IS NULL OR t.at_level) AND (%(state)s::text IS NULL OR t.state = %(state)s)
    ORDER BY s.site_name NULLS LAST, t.tenant_id LIMIT %(limit)s
    """
    return _rows(url, query, level=level, state=state, limit=limit)


def runs(url: str, *, state: str | None = None, tenant_id: str | None = None, limit: int = 100) -> list[Row]:
    """Scopes with their level and state; what needs an operator first, and of those the oldest."""
    query = """
    SELECT tenant_id, kind, key, coalesce(level, 'absent') AS level, state, reason, updated_at,
           extract(epoch FROM now() - updated_at)::float AS age_seconds
    FROM provisionings
    WHERE (%(state)s::text IS NULL OR state = %(state)s)
      AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s)
    ORDER BY array_position(%(states)s, state), updated_at,
             tenant_id, array_position(ARRAY['site', 'family', 'product'], kind), key
    LIMIT %(limit)s
    """
    return _rows(url, query, state=state, tenant_id=tenant_id, limit=limit)


def unsettled(url: str, *, tenant_id: str | None = None, limit: int = 100) -> list[str]:
    """Tenants of which something is due or waits, or awaits approval."""
    query = """
    SELECT DISTINCT tenant_id FROM (
        SELECT tenant_id FROM held_by_guard
        UNION ALL SELECT split_part(scope, ':', 2) FROM blocked
        UNION ALL SELECT split_part(scope, ':', 2) FROM wakes WHERE due_at <= now() AND scope NOT LIKE 'customer:%%'
        UNION ALL SELECT tenant_id FROM provisionings WHERE state <> 'converged'
    ) AS each
    WHERE %(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s ORDER BY tenant_id LIMIT %(limit)s
    """
    return [row["tenant_id"] for row in _rows(url, query, tenant_id=tenant_id, limit=limit)]


def waiting(url: str, *, limit: int = 100) -> list[Row]:
    """The tenants that messages wait for, the longest first: how many, of which sources and types, for how long."""
    query = """
    SELECT tenant_id, count(*) AS messages, array_agg(DISTINCT source ORDER BY source) AS sources,
           array_agg(DISTINCT type ORDER BY type) AS types, min(received_at) AS since,
           extract(epoch FROM now() - min(received_at))::float AS oldest_seconds,
           extract(epoch FROM now() - max(received_at))::float AS newest_seconds
    FROM waiting GROUP BY tenant_id ORDER BY min(received_at), tenant_id LIMIT %(limit)s
    """
    return _rows(url, query, limit=limit)


def _rows(url: str, query: str, **values: object) -> list[Row]:
    with _connect(url) as connection:
        return connection.execute(query.encode(), {"states": list(SCOPE_STATES), **values}).fetchall()


@contextmanager
def _connect(url: str) -> Iterator[psycopg.Connection[Row]]:
    with answering(), connect(url, row_factory=dict_row) as connection:
        yield connection


def _one(connection: psycopg.Connection[Row], query: str) -> Row:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row
