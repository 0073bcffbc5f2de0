"""Fleet metrics: the state of the whole installation as numbers, from the control database.

Each number is one short query. What grows with the log (all messages ever seen, say) is not counted here: a scrape
costs the same after a year.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from adapters.postgres.connection import Limits, Session
from adapters.postgres.live_workers import HEARTBEAT_TIMEOUT_SECONDS
from domain.scope.states import SCOPE_STATES
from domain.scope.steps import SCOPE_STEPS

Sample = tuple[str, dict[str, str], float]

_LIMITS: Final = Limits(statement=5.0, lock=1.0, idle_in_transaction=5.0)

TEXTS: Final = {
    "log_position": "The last position of the log that readers may see",
    "projection_lag_events": "Events that a read model has not applied yet",
    "projection_halted": "1 where a read model has halted at an event",
    "contexts_lag_events": "Events that the tenant contexts do not tell yet",
    "contexts_halted": "Tenants whose context cannot be brought up to date: nobody is let in",
    "relay_lag_events": "Positions that integration events wait to be published for",
    "seal_lag_events": "Events after the last sealed one",
    "scopes_due": "Scopes that are due and not yet worked on to the end",
    "oldest_due_seconds": "How long the scope that waits longest has been due",
    "scopes": "Scopes by kind and state",
    "unreachable_scopes": "Scopes that wait for something that does not answer",
    "awaiting_approval": "Changes that the destroy guard holds",
    "awaiting_approval_oldest_seconds": "How long the oldest change awaits its approval",
    "quarantined_messages": "Messages in quarantine, by rule",
    "backlog_messages": "Messages that wait for their tenant",
    "backlog_oldest_seconds": "How long the oldest message waits for its tenant",
    "shard_families": "Families that live on a shard",
    "shard_capacity": "Families that a shard can hold",
    "sweep_age_seconds": "Time since the background sweep last looked at everything",
    "sweep_unreachable": "Places that the last sweep could not look at",
    "sweep_stopped": "1 where the background sweep stopped itself",
    "workers": "Workers that are alive, by kind and state",
    "database_connections": "Client connections of the database server",
    "database_max_connections": "Client connections that the database server allows",
}

_QUERIES: Final = {
    "log_position": "SELECT position FROM high_water_mark",
    "projection_lag_events": "SELECT greatest(0, (SELECT position FROM high_water_mark) - min(position)), name"
    " FROM projection_positions GROUP BY name",
    "projection_halted": "SELECT (bool_or(halted_at IS NOT NULL))::int, name FROM projection_positions GROUP BY name",
    "contexts_lag_events": "SELECT greatest(0, (SELECT position FROM high_water_mark) - position) FROM context_log",
    "contexts_halted": "SELECT count(*) FROM contexts WHERE halted IS NOT NULL",
    "relay_lag_events": "SELECT greatest(0, coalesce((SELECT max(position) FROM outbox), 0) - coalesce((SELECT position"
    " FROM relay_positions ORDER BY updated_at DESC LIMIT 1), 0))",
    "seal_lag_events": "SELECT greatest(0, (SELECT position FROM high_water_mark) - coalesce((SELECT"
    " substring(note FROM '\\nposition ([0-9]{1,18})\\n')::bigint FROM seal_checkpoints ORDER BY number DESC LIMIT 1),"
    " 0))",
    "scopes_due": "SELECT count(DISTINCT scope) FROM wakes WHERE due_at <= now()",
    "oldest_due_seconds": "SELECT coalesce(extract(epoch FROM now() - min(due_at)), 0) FROM wakes"
    " WHERE due_at <= now()",
    "scopes": "SELECT count(*), kind, state FROM provisionings GROUP BY kind, state",
    "unreachable_scopes": "SELECT count(*) FROM provisionings WHERE outcome IS NULL AND obstacle LIKE 'unreachable:%%'",
    "awaiting_approval": "SELECT coalesce(sum(changes), 0) FROM held_by_guard",
    "awaiting_approval_oldest_seconds": "SELECT coalesce(extract(epoch FROM now() - min(since)), 0) FROM held_by_guard",
    "quarantined_messages": "SELECT count(*), rule FROM quarantine WHERE state = 'open' GROUP BY rule",
    "backlog_messages": "SELECT count(*) FROM waiting",
    "backlog_oldest_seconds": "SELECT coalesce(extract(epoch FROM now() - min(received_at)), 0) FROM waiting",
    "shard_families": "SELECT used, name, region, state FROM shards",
    "shard_capacity": "SELECT capacity, name, region, state FROM shards",
    "sweep_age_seconds": "SELECT extract(epoch FROM now() - finished_at) FROM sweeps",
    "sweep_unreachable": "SELECT count(*) FROM sweeps, jsonb_object_keys(silent)",
    "sweep_stopped": "SELECT (stopped_at IS NOT NULL)::int FROM sweeps",
    "workers": "SELECT count(*), kind, state FROM workers WHERE seen_at > now() - make_interval(secs => %(silent)s)"
    " GROUP BY kind, state",
    "database_connections": "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
    "database_max_connections": "SELECT current_setting('max_connections')::int",
}
"""The value of each, and then its labels."""

_LABELS: Final = {
    "projection_lag_events": ("projection",),
    "projection_halted": ("projection",),
    "scopes": ("kind", "state"),
    "quarantined_messages": ("rule",),
    "shard_families": ("shard", "region", "state"),
    "shard_capacity": ("shard", "region", "state"),
    "workers": ("kind", "state"),
}


class Fleet:
    """A session of its own, for one thread at a time; `kinds` are those of workers. Raises Unavailable."""

    def __init__(self, url: str, kinds: Iterable[str] = ()) -> None:
        self._kinds = tuple(kinds)
        self._session = Session(url, limits=_LIMITS)

    def samples(self) -> Iterator[Sample]:
        """All numbers of `TEXTS`: name, labels, value. A state of scopes, and a kind of worker, that none has is 0."""
        named = {"silent": HEARTBEAT_TIMEOUT_SECONDS}
        with self._session() as connection:
            found = {name: connection.execute(query.encode(), named).fetchall() for name, query in _QUERIES.items()}
        none: dict[str, list[tuple[str, str]]] = {
            "scopes": [(kind, state) for kind in SCOPE_STEPS for state in SCOPE_STATES],
            "workers": [(kind, "ready") for kind in self._kinds],
        }
        for name, keys in none.items():
            counts: dict[tuple[str, str], int] = dict.fromkeys(keys, 0) | {
                (kind, state): count for count, kind, state in found[name]
            }
            found[name] = [(count, *key) for key, count in counts.items()]
        for name, each in found.items():
            for value, *labels in each:
                yield name, dict(zip(_LABELS.get(name, ()), map(str, labels), strict=True)), float(value)

    def close(self) -> None:
        self._session.close()
