"""Report on why the products of a tenant were usable or not, as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.postgres.past import Moment
from application.description import STEP_NAMES
from domain.event import Recorded
from domain.tenant.state import stream_of
from history import as_of
from history.customer_sentence import sentence_for_customer
from history.explain import Explained, explain
from history.story import cause_as_json
from runtime.compose.parts import Parts


def explanation_at(parts: Parts, tenant_id: str, events: Sequence[Recorded], moment: Moment) -> list[dict[str, Any]]:
    """Each product of the tenant as of the moment, from the events up to it and nothing that came later."""
    then = parts.configuration_at(moment.position)
    own = [recorded for recorded in events if recorded.stream == stream_of(tenant_id)]
    known = as_of.snapshot_of(tenant_id, own, catalog=then.catalog).tenant.products
    found = [
        explain(tenant_id, key, events, catalog=then.catalog, policy=then.policy, now=moment.time)
        for key in sorted(known)
        if key in then.catalog
    ]
    return [
        {**explained_data(each), "for_customer": sentence_for_customer(each, name=then.catalog[each.product].name)}
        for each in found
    ]


def explained_data(explained: Explained) -> dict[str, Any]:
    return {
        "product": explained.product,
        "usable": explained.usable,
        "lacking": explained.lacking,
        "desired": explained.spec,
        "as_recorded": explained.doubts,
        "desired_state": [{"reason": each.text, "since": _chain(each.since)} for each in explained.desired_state],
        "awaiting": [{"reason": each.text, "since": _chain(each.since)} for each in explained.awaiting],
        "level": explained.level,
        "level_since": _chain(explained.level_since),
        "level_last": _chain(explained.level_last),
        "data_lost": explained.data_lost,
        "standing": [
            {
                "scope": str(each.scope),
                "state": each.state,
                "reason": each.reason,
                "step": each.at.step and {"number": int(each.at.step), "name": STEP_NAMES[each.at.step]},
                "attempts": each.at.attempts,
                "retry_at": each.at.retry_at,
            }
            for each in explained.standing
        ],
    }


def _chain(chain: Sequence[Recorded]) -> list[dict[str, Any]]:
    return [
        {
            "event": recorded.event.TOPIC,
            "stream": recorded.stream,
            "version": recorded.version,
            "position": recorded.position,
            "time": recorded.time,
            "cause": cause_as_json(recorded.cause),
        }
        for recorded in chain
    ]
