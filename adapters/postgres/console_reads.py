"""Reads of the console that no command has: what needs a look, pages of tenants, the standing of scopes, the health.

Each statement has a bound, and an index by which it is answered: a page takes as long with a million tenants as with a
hundred (tests/console/test_plans_of_queries.py looks at PostgreSQL's plans).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from psycopg.rows import dict_row

from adapters.postgres import console_quarantine
from adapters.postgres.connection import Limits, Session
from adapters.postgres.console_search import search
from adapters.postgres.live_workers import HEARTBEAT_TIMEOUT_SECONDS
from domain.scope.states import SCOPE_STATES
from domain.stream_name import ScopeId

Row = dict[str, Any]

TENANTS_LOOKED_AT: Final = 1_000
"""Tenants among which one page looks for those that pass all its filters."""
TROUBLES: Final = 1_000
"""Scopes of one state that are looked at; where there are more, a page says "at least"."""
COUNTED: Final = 10_000
"""Up to which messages, scopes and changes are counted; one more stands for all that are more."""
SAMPLED: Final = 10_000
"""Up to which a sample counts scopes."""
LOOKED_THROUGH: Final = 20_000
"""Scopes that have been due the longest, among which those in progress are looked for."""

PAGE: Final = Limits(statement=5.0, lock=1.0, idle_in_transaction=5.0)
"""Of everything that a page reads: one that takes longer says that it took too long, and its desk is free again."""


class ConsoleReader:
    """One session of its own, for one thread at a time. Raises Unavailable."""

    def __init__(self, url: str) -> None:
        self._session = Session(url, limits=PAGE, row_factory=dict_row)

    def close(self) -> None:
        self._session.close()

    def position(self) -> int:
        """How far the read models are, all of them."""
        return int(self._one(_POSITION)["position"])

    # -- what needs a look --------------------------------------------------------------------------------------------

    def troubles(self) -> list[Row]:
        """Scopes that an operator must look at, that wait, or whose last attempt failed, those that are alike together.

        A row has the `tenants` of scopes with the same kind, key, state, step and reasons, since the first of them.
        """
        return self._rows(_TROUBLES, {"limit": TROUBLES})

    def trouble_counts(self) -> list[Row]:
        """All scopes in trouble by state, kind, key and reason, the most first; what differs in a reason is left out.

        Nothing where `troubles` looks at all of them. It reads each of these scopes: not for a page.
        """
        is_cut = any(row["scopes"] >= TROUBLES for row in self._rows(_IN_EACH_TROUBLE, {"limit": TROUBLES}))
        return self._rows(_COUNTED) if is_cut else []

    def pending(self) -> Row:
        """What the destroy guard holds, what lies in quarantine by rule, what waits for its tenant, what has halted.

        Each is counted up to COUNTED.
        """
        most = {"most": COUNTED + 1}
        return {
            "guard": self._one(_GUARD, most),
            "quarantine": console_quarantine.by_rule(self._rows, COUNTED + 1),
            "waiting": self._one(_WAITING, most),
            "halted": self._rows(_HALTED),
            "sweep": self._one(_SWEEP),
            "read_only": self._one(_READ_ONLY)["read_only"],
        }

    def quarantine_groups(self) -> list[Row]:
        """The open messages by rule, source and type; of the oldest COUNTED and one."""
        return console_quarantine.by_source(self._rows, COUNTED + 1)

    def quarantined(self, *, state: str, picked: Row, after: int, limit: int) -> tuple[list[Row], int | None]:
        """A page of messages: console_quarantine.py."""
        return console_quarantine.page(self._rows, state=state, picked=picked, after=after, limit=limit)

    def standings(self, scopes: Collection[ScopeId]) -> dict[ScopeId, Row]:
        """The state of each scope by the read model, and since when."""
        rows = self._rows(
            _STANDINGS,
            {
                "tenants": [scope.tenant_id for scope in scopes],
                "kinds": [scope.kind for scope in scopes],
                "keys": [scope.key for scope in scopes],
            },
        )
        return {ScopeId(row.pop("kind"), row.pop("tenant_id"), row.pop("key")): row for row in rows}

    def versions(self, streams: Collection[str]) -> dict[str, int]:
        """The version of each stream as committed now; 0 of one that has no event."""
        return {row["stream"]: row["version"] for row in self._rows(_VERSIONS, {"streams": list(streams)})}

    def standings_of_tenants(self, tenants: Collection[str]) -> dict[str, list[Row]]:
        """The scopes of each tenant, as `standings`."""
        found: dict[str, list[Row]] = {}
        for row in self._rows(_OF_TENANTS, {"tenants": list(tenants)}):
            found.setdefault(row["tenant_id"], []).append(row)
        return found

    # -- tenants ------------------------------------------------------------------------------------------------------

    def tenants(self, *, level: str | None, state: str | None, after: str, limit: int) -> tuple[list[Row], str | None]:
        """A page of tenants by their id, after the one that is named; and the one to name for the next page.

        An index leads to tenants with a product at the level, or a scope in the state. Of those that follow, at most
        TENANTS_LOOKED_AT, it has the first `limit` that are at the level and, as a whole, in the state; so a page may
        have fewer, or none, and still a next one. In progress are those that are tried again, and of the scopes that
        are due the first LOOKED_THROUGH.
        """
        if state is not None and state != "converged":
            query = _IN_PROGRESS if state == "in_progress" else _IN_TROUBLE
        elif level is not None:
            query = _AT_NO_LEVEL if level == "absent" else _AT_LEVEL
        else:
            query = _ALL
        shown: list[Row] = []
        asked, looked = limit, 0
        while True:
            values = {"level": level, "state": state, "after": after, "limit": asked, "through": LOOKED_THROUGH}
            ids = [row["tenant_id"] for row in self._rows(query, values)]
            rows = self._rows(_TENANTS, {"tenants": ids, "states": list(SCOPE_STATES)}) if ids else []
            shown += [
                row
                for row in rows
                if state in (None, row["state"]) and (level is None or level in row["products"].values())
            ]
            looked += len(ids)
            if len(shown) > limit or (len(shown) == limit and len(ids) == asked):
                return shown[:limit], shown[limit - 1]["tenant_id"]
            if len(ids) < asked:
                return shown, None
            after = ids[-1]
            if looked >= TENANTS_LOOKED_AT:
                return shown, after
            asked = min(asked * 4, TENANTS_LOOKED_AT - looked)

    # -- health -------------------------------------------------------------------------------------------------------

    def health(self) -> Row:
        """Positions and lags, what is due, workers, the sweep, the configuration; nothing that grows with the log."""
        many = {name: self._rows(query) for name, query in _HEALTH_ROWS.items()}
        one = {name: self._one(query, {"most": COUNTED + 1}) for name, query in _HEALTH.items()}
        many["rebuilds"] = self._rows(_REBUILDS)
        workers = self._rows(_WORKERS, {"silent": HEARTBEAT_TIMEOUT_SECONDS})
        return {**one, **many, "workers": workers}

    def sealed(self) -> int:
        """The last position that the newest checkpoint covers; 0 where nothing is sealed."""
        return int(self._one(_SEAL)["position"])

    def sample(self) -> dict[str, float]:
        """Numbers for the plots of the last hours."""
        return {name: float(value or 0) for name, value in self._one(_SAMPLE, {"most": SAMPLED}).items()}

    # -- search -------------------------------------------------------------------------------------------------------

    def search(self, text: str) -> list[Row]:
        """What the text names: console_search.py."""
        return list(search(self._rows, text))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _rows(self, query: str, values: Row | None = None) -> list[Row]:
        with self._session() as connection:
            return connection.execute(query.encode(), values or {}).fetchall()

    def _one(self, query: str, values: Row | None = None) -> Row:
        rows: Sequence[Row] = self._rows(query, values)
        return rows[0] if rows else {}


_POSITION: Final = (
    "SELECT coalesce((SELECT min(position) FROM projection_positions WHERE name <> 'integration'), 0) AS position"
)

_STEP: Final = (
    " LEFT JOIN LATERAL (SELECT step, reason AS step_reason FROM provisioning_steps AS s"
    " WHERE s.tenant_id = p.tenant_id AND s.kind = p.kind AND s.key = p.key AND s.state IN ('failed', 'blocked',"
    " 'missing') ORDER BY updated_at DESC LIMIT 1) AS s ON true"
)
_ALIKE: Final = "p.kind, p.key, p.state, p.reason, p.obstacle, s.step, s.step_reason"
_TROUBLES: Final = (
    f"SELECT {_ALIKE}, array_agg(p.tenant_id) AS tenants, min(p.updated_at) AS since, min(p.retry_at) AS retry_at"  # noqa: S608
    " FROM unnest('{on_hold,failed,waiting,tries}'::text[]) AS t (trouble) CROSS JOIN LATERAL"
    " (SELECT * FROM provisionings AS p WHERE p.trouble = t.trouble ORDER BY tenant_id, kind, key LIMIT %(limit)s) AS p"
    f"{_STEP} GROUP BY {_ALIKE}"
)
_GUARD: Final = (
    "SELECT coalesce(sum(changes), 0)::bigint AS changes, count(*) AS tenants, min(since) AS since"
    " FROM (SELECT changes, since FROM held_by_guard WHERE changes > 0 ORDER BY tenant_id LIMIT %(most)s) AS h"
)
_IN_EACH_TROUBLE: Final = (
    "SELECT t.trouble, (SELECT count(*) FROM (SELECT 1 FROM provisionings AS p WHERE p.trouble = t.trouble"
    " LIMIT %(limit)s) AS f) AS scopes FROM unnest('{on_hold,failed,waiting,tries}'::text[]) AS t (trouble)"
)
_COUNTED: Final = (
    "SELECT state, kind, key, reason, count(*) AS scopes, min(updated_at) AS since, min(tenant_id) AS tenant_id FROM"
    " (SELECT state, kind, key, updated_at, tenant_id, regexp_replace(left(coalesce(reason, obstacle, ''), 300),"
    r" '[0-9a-f]{8}-[0-9a-f-]{27}|\m[tgr]_[0-9a-z_]+\M|\m[0-9a-f]{12,}\M|\m\d{4,}\M', '…', 'g') AS reason"
    " FROM provisionings WHERE trouble IS NOT NULL) AS p"
    " GROUP BY state, kind, key, reason ORDER BY count(*) DESC, state, kind, key, reason LIMIT 100"
)
_WAITING: Final = (
    "SELECT count(*) AS messages, min(received_at) AS since"
    " FROM (SELECT received_at FROM waiting ORDER BY number LIMIT %(most)s) AS w"
)
_HALTED: Final = (
    "SELECT name, halted_at, halted_reason AS reason FROM projection_positions WHERE halted_at IS NOT NULL ORDER BY 1"
)
_SWEEP: Final = "SELECT started_at, finished_at, tenants, stopped_at, reason, silent AS unreachable FROM sweeps"
_READ_ONLY: Final = "SELECT current_setting('transaction_read_only') = 'on' AS read_only"

_STANDINGS: Final = (
    "SELECT p.tenant_id, p.kind, p.key, p.state, p.level, p.reason, p.updated_at"
    " FROM unnest(%(tenants)s::text[], %(kinds)s::text[], %(keys)s::text[]) AS k (tenant_id, kind, key)"
    " JOIN provisionings AS p USING (tenant_id, kind, key)"
)
_VERSIONS: Final = (
    "SELECT s.stream, coalesce((SELECT e.originator_version FROM stored_events AS e WHERE e.originator_id = s.stream"
    " ORDER BY e.originator_version DESC LIMIT 1), 0) AS version FROM unnest(%(streams)s::text[]) AS s (stream)"
)
_OF_TENANTS: Final = (
    "SELECT p.tenant_id, p.kind, p.key, p.state, p.level, p.reason, p.updated_at"
    " FROM unnest(%(tenants)s::text[]) AS k (tenant_id) JOIN provisionings AS p USING (tenant_id)"
)

_ALL: Final = "SELECT tenant_id FROM sites_base WHERE tenant_id > %(after)s ORDER BY tenant_id LIMIT %(limit)s"
_IN_TROUBLE: Final = (
    "SELECT DISTINCT tenant_id FROM provisionings WHERE trouble = %(state)s"
    " AND tenant_id > %(after)s ORDER BY tenant_id LIMIT %(limit)s"
)
_IN_PROGRESS: Final = (
    "SELECT DISTINCT tenant_id FROM ("
    "(SELECT tenant_id FROM provisionings WHERE trouble = 'tries' AND tenant_id > %(after)s"
    " ORDER BY tenant_id LIMIT %(limit)s) UNION ALL"
    " SELECT split_part(scope, ':', 2) FROM (SELECT scope FROM wakes WHERE due_at <= now()"
    " ORDER BY due_at, number LIMIT %(through)s) AS due) AS both_"
    " WHERE tenant_id > %(after)s ORDER BY tenant_id LIMIT %(limit)s"
)
_AT_LEVEL: Final = (
    "SELECT DISTINCT tenant_id FROM provisionings WHERE kind = 'product' AND level = %(level)s"
    " AND tenant_id > %(after)s ORDER BY tenant_id LIMIT %(limit)s"
)
_AT_NO_LEVEL: Final = (
    "SELECT DISTINCT tenant_id FROM ("
    "(SELECT tenant_id FROM provisionings WHERE kind = 'product' AND level = 'absent' AND tenant_id > %(after)s"
    " ORDER BY tenant_id LIMIT %(limit)s) UNION ALL"
    " (SELECT tenant_id FROM provisionings WHERE kind = 'product' AND level IS NULL AND tenant_id > %(after)s"
    " ORDER BY tenant_id LIMIT %(limit)s)) AS both_ ORDER BY tenant_id LIMIT %(limit)s"
)
_TENANTS: Final = (
    "SELECT k.tenant_id, t.site_name, t.customer_id, a.access, t.created_at, t.destroyed_at,"
    " p.products, p.state FROM unnest(%(tenants)s::text[]) AS k (tenant_id)"
    " LEFT JOIN sites_base AS t USING (tenant_id) LEFT JOIN sites AS a USING (tenant_id)"
    " CROSS JOIN LATERAL (SELECT coalesce(jsonb_object_agg(key, coalesce(level, 'absent'))"
    " FILTER (WHERE kind = 'product'), '{}') AS products,"
    " (array_agg(state ORDER BY array_position(%(states)s::text[], state)))[1] AS state"
    " FROM provisionings AS p WHERE p.tenant_id = k.tenant_id) AS p ORDER BY k.tenant_id"
)

_SEAL: Final = (
    "SELECT coalesce((SELECT substring(note FROM '\\nposition ([0-9]{1,18})\\n')::bigint FROM seal_checkpoints"
    " ORDER BY number DESC LIMIT 1), 0) AS position"
)
_HEALTH: Final = {
    "log": "SELECT position, extract(epoch FROM now() - published_at)::float AS quiet_seconds FROM high_water_mark",
    "relay": "SELECT coalesce((SELECT max(position) FROM outbox), 0) AS written, coalesce((SELECT position FROM"
    " relay_positions ORDER BY updated_at DESC LIMIT 1), 0) AS position",
    "seal": _SEAL,
    "due": "SELECT count(*) AS scopes, coalesce(extract(epoch FROM now() - min(due_at)), 0)::float AS oldest_seconds"
    " FROM (SELECT due_at FROM wakes WHERE due_at <= now() ORDER BY due_at, number LIMIT %(most)s)"
    " AS due",
    "sweep": _SWEEP,
    "database": "SELECT current_setting('transaction_read_only') = 'on' AS read_only,"
    " (SELECT sum(numbackends)::int FROM pg_stat_database) AS connections,"
    " current_setting('max_connections')::int AS max_connections",
}
_HEALTH_ROWS: Final = {
    "projections": "SELECT name, min(position) AS position, max(halted_reason) AS reason FROM projection_positions"
    " GROUP BY name ORDER BY name",
    "kafka": "SELECT topic, partition, next_offset, updated_at FROM kafka_positions ORDER BY topic, partition",
    "shards": "SELECT name, region, state, used, capacity FROM shards ORDER BY name",
}
_SAMPLE: Final = (
    "SELECT m.position AS log, m.position - coalesce((SELECT min(position) FROM projection_positions), m.position)"
    " AS read_models, coalesce((SELECT max(position) FROM outbox), 0) - coalesce((SELECT position FROM relay_positions"
    " ORDER BY updated_at DESC LIMIT 1), 0) AS outbox,"
    " (SELECT count(*) FROM (SELECT 1 FROM wakes WHERE due_at <= now() LIMIT %(most)s) AS d) AS due,"
    " (SELECT count(*) FROM (SELECT 1 FROM provisionings WHERE trouble IN ('on_hold', 'failed')"
    " LIMIT %(most)s) AS f) AS failed FROM high_water_mark AS m"
)
_REBUILDS: Final = (
    "SELECT n.nspname AS schema, sum(pg_relation_size(c.oid))::bigint AS built,"
    " sum(pg_relation_size(to_regclass('public.' || quote_ident(c.relname))))::bigint AS live"
    " FROM pg_namespace AS n JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind = 'r'"
    " WHERE n.nspname LIKE 'rebuild\\_%%' GROUP BY n.nspname ORDER BY n.nspname"
)
_WORKERS: Final = (
    "SELECT name, kind, host, pid, state, version, started_at, details FROM workers"
    " WHERE seen_at > now() - make_interval(secs => %(silent)s) ORDER BY kind, name"
)
