"""Quarantine as the console reads it: how many messages lie there and why, and pages of them, without their bodies.

However many messages a broken source has sent: groups are counted up to a bound, and a page looks through so many
messages at most for those that match, then says where the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

Row = dict[str, Any]
Ask = Callable[[str, Row], list[Row]]

LOOKED_THROUGH: Final = 10_000
"""Messages among which one page looks for those that match."""


def by_rule(ask: Ask, most: int) -> list[Row]:
    """The open messages of each rule, counted up to `most`."""
    return ask(_BY_RULE, {"most": most})


def by_source(ask: Ask, most: int) -> list[Row]:
    """The open messages by rule, source and type, of the oldest `most`."""
    return ask(_BY_SOURCE, {"most": most})


def page(ask: Ask, *, state: str, picked: Row, after: int, limit: int) -> tuple[list[Row], int | None]:
    """Messages in the state with the values that are picked, after a number; and the one to go on after, if there is.

    `picked` has rule, source, type and tenant_id, each None for any.
    """
    # What an index leads by is part of what is looked through; of closed messages there is none by their rule.
    indexed = ("tenant_id", "rule") if state == "open" else ("tenant_id",)
    led_by = next((name for name in indexed if picked[name] is not None), None)
    looked = _LOOKED.format(state=_STATES[state], led=f" AND {led_by} = %({led_by})s" if led_by else "")
    values = {**picked, "after": after, "limit": limit, "through": LOOKED_THROUGH}
    rows = ask(_PAGE.format(looked=looked), values)
    if len(rows) == limit:
        return rows, rows[-1]["number"]
    [end] = ask(_END.format(looked=looked), values)
    return rows, end["number"] if end["looked"] == LOOKED_THROUGH else None


# The rules are few: each is looked up by itself, and so counted whatever another one has filled the quarantine with.
_BY_RULE: Final = (
    "WITH RECURSIVE rules AS ((SELECT rule FROM quarantine WHERE state = 'open' ORDER BY rule LIMIT 1) UNION ALL"
    " SELECT (SELECT q.rule FROM quarantine AS q WHERE q.state = 'open' AND q.rule > r.rule ORDER BY q.rule LIMIT 1)"
    " FROM rules AS r WHERE r.rule IS NOT NULL)"
    " SELECT rule, messages, since FROM rules CROSS JOIN LATERAL (SELECT count(*) AS messages, min(number) AS first"
    " FROM (SELECT number FROM quarantine AS q WHERE q.state = 'open' AND q.rule = rules.rule ORDER BY number"
    " LIMIT %(most)s) AS o) AS c CROSS JOIN LATERAL (SELECT received_at AS since FROM quarantine AS q"
    " WHERE q.number = c.first) AS f WHERE rule IS NOT NULL ORDER BY messages DESC, rule"
)
_BY_SOURCE: Final = (
    "SELECT rule, source, type, count(*) AS messages, min(received_at) AS since"
    " FROM (SELECT rule, source, type, received_at FROM quarantine WHERE state = 'open' ORDER BY number LIMIT %(most)s)"
    " AS o GROUP BY rule, source, type ORDER BY count(*) DESC, rule, source, type LIMIT 100"
)

_STATES: Final = {each: f"'{each}'" for each in ("open", "retried", "discarded")}
_LOOKED: Final = (
    "SELECT number, rule, source, type, tenant_id FROM quarantine WHERE state = {state} AND number > %(after)s{led}"
    " ORDER BY number LIMIT %(through)s"
)
_MATCHES: Final = " AND ".join(
    f"(%({name})s::text IS NULL OR {name} = %({name})s)" for name in ("rule", "source", "type", "tenant_id")
)
_PAGE: Final = (
    "SELECT q.number, q.state, q.rule, q.reason, q.source, q.id, q.type, q.tenant_id, q.topic, q.partition,"  # noqa: S608
    ' q."offset", q.repeats, q.received_at AS at FROM (SELECT number FROM ({looked}) AS l'
    f" WHERE {_MATCHES} ORDER BY number LIMIT %(limit)s) AS f JOIN quarantine AS q USING (number) ORDER BY q.number"
)
_END: Final = "SELECT max(number) AS number, count(*) AS looked FROM ({looked}) AS l"
