"""Page of the operators' acts: each stays open until the scopes that it concerns have converged after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command

if TYPE_CHECKING:
    from history.acts import RecordedAct
    from runtime.compose.parts import Parts

ON_A_PAGE: Final = 100
LOOKED_THROUGH: Final = 1_000
"""Acts that one page shows of one form, or among which it looks for those of an operator or of a kind."""
LAST: Final = 2**62
BY_THE_LOG: Final = 50

CONVERGING: Final = frozenset(
    {
        "tenantry.scope-resumed",
        "tenantry.ensure-requested",
        "tenantry.changes-approved",
        "tenantry.changes-rejected",
        "tenantry.tenant-restored",
        "tenantry.data-abandoned",
    }
)
"""The acts after which scopes have something to do."""

Json = dict[str, Any]


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    position = desk.reads.position()
    found, following = _found(desk.parts, ask)
    states = _states(desk, found, position)
    rows = [{**asdict(act), **states[act.position]} for act in found]
    counts = {state: sum(row["state"] == state for row in rows) for state in ("open", "failed", "converged", "done")}
    tenant, by, what = ask.get("tenant"), ask.get("by"), ask.get("what")
    return ConsolePage(
        "acts",
        "Acts",
        {"acts": rows, "counts": counts, "next": following},
        command("acts", tenant=tenant, by=by, what=what),
        position=position,
        extra={
            "following": ask.address(upto=following - 1) if following is not None else None,
            "tenant": tenant,
            "by": by,
            "what": what,
            "refused": ask.number("refused") or 0,
            "is_result": ask.number("after") is not None,
        },
    )


def _found(parts: Parts, ask: Ask) -> tuple[list[RecordedAct], int | None]:
    """The newest first; and before which position there may be more."""
    from history.acts import acts_in  # noqa: PLC0415 - the live page needs no event

    after, tenant, by, what = ask.number("after"), ask.get("tenant"), ask.get("by"), ask.get("what")
    before = min(ask.number("upto") or LAST, LAST) + 1
    shown = ON_A_PAGE if after is None else LOOKED_THROUGH
    piece = LOOKED_THROUGH if by or what or after is not None else ON_A_PAGE
    if tenant is not None:
        events = parts.past.latest_acts_of(tenant, before, piece)
    else:
        events = parts.past.latest_acts(before, piece)
    chosen = list(acts_in((each for each in events if each.position > (after or 0)), by=by, what=what, tenant=tenant))
    if after is not None:
        return chosen[:shown], None
    if len(chosen) >= shown:
        return chosen[:shown], chosen[shown - 1].position
    return chosen, events[-1].position if len(events) == piece else None


def _states(desk: ReadingDesk, acts: Sequence[RecordedAct], position: int) -> Mapping[int, Json]:
    """By the position of the act: `open` with how many scopes have converged, `failed`, `converged`; or `done`."""
    from domain.scope.steps import Scope  # noqa: PLC0415
    from domain.stream_name import StreamName  # noqa: PLC0415

    going = [act for act in acts if act.topic in CONVERGING]
    scopes = {act.position: Scope.parse(act.on) for act in going if StreamName.parse(act.on).is_of_scope}
    whole = {act.tenant_id for act in going if act.position not in scopes and act.tenant_id is not None}
    standings, of_tenants = desk.reads.standings(list(set(scopes.values()))), _of_tenants(desk, whole)
    found: dict[int, Json] = {}
    for act in acts:
        if act.topic not in CONVERGING:
            found[act.position] = {"state": "done", "converged": 0, "of": 0}
            continue
        scope = scopes.get(act.position)
        rows = [standings[scope]] if scope in standings else of_tenants.get(act.tenant_id or "", [])
        is_known = position >= act.position
        converged = sum(is_known and row["state"] == "converged" for row in rows)
        failed = sum(is_known and row["state"] in ("failed", "on_hold") for row in rows)
        state = "converged" if rows and converged == len(rows) else "failed" if failed else "open"
        found[act.position] = {"state": state, "converged": converged, "of": len(rows)}
    return found


def _of_tenants(desk: ReadingDesk, tenants: Collection[str]) -> Mapping[str, Sequence[Json]]:
    """The scopes of each tenant. Of few, by the log: the read model does not know yet what an approval has to do."""
    from application.description import describe_scopes  # noqa: PLC0415
    from runtime.compose.process import utc_now  # noqa: PLC0415

    if len(tenants) > BY_THE_LOG:
        return desk.reads.standings_of_tenants(tenants)
    parts, now = desk.parts, utc_now()
    return {
        tenant_id: list(describe_scopes(snapshot, catalog=parts.catalog, policy=parts.policy, now=now).values())
        for tenant_id, snapshot in (parts.saga.snapshots(tenants) if tenants else {}).items()
    }
