"""Page of a plan of the destroy guard: what would happen, what becomes of the data, and what has changed since.

The address names the plan by its hash, and the position at which it was read. A plan that is not the current one any
more is shown as it was then, beside the current one; it cannot be approved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command
from domain.errors import UsageError
from domain.operator import Operator

if TYPE_CHECKING:
    from domain.catalog import Catalog
    from domain.configuration import Adopted
    from domain.scope.snapshot import TenantSnapshot
    from domain.tenant.approval import Plan
    from runtime.compose.parts import Parts

ACTS_LOOKED_THROUGH: Final = 1_000
ON_A_PAGE: Final = 100
"""Changes in one table of the page; their kinds are counted over all of them, and the JSON has them whole."""
REHEARSED: Final = 20
"""Scopes that are decided on in the rehearsal on the page; the command `runs rehearse` tells the whole."""

Json = dict[str, Any]


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    from runtime.compose.operators import operating_of  # noqa: PLC0415 - the live page needs no event
    from runtime.compose.process import utc_now  # noqa: PLC0415
    from runtime.reports.rehearsal import NOT_UNDONE  # noqa: PLC0415

    position, parts, hash_ = desk.reads.position(), desk.parts, ask.named.get("hash")
    mark = parts.past.mark()
    seen = ask.number("seen")
    if ask.get("at"):
        moment = parts.past.at(ask.query["at"], now=utc_now())
        then = plan_at(parts, moment.position)
        data = {**_data(then, None, hash_ or _hash(then)), "rehearsal": None}
        extra = {"seen": None, **_shown(data["changes"], ask)}
        return _page(data, command("runs", "approve"), position, at=moment.position, extra=extra)
    current = operating_of(parts).plan()
    before = plan_at(parts, seen) if seen is not None and hash_ not in (None, current.hash) else None
    data = _data(current, before, hash_ or _hash(current))
    data["settled"] = _settled(parts, hash_) if hash_ not in (None, current.hash) else None
    spelled = command("runs", "approve", *((hash_,) if hash_ and hash_ == current.hash else ()))
    rehearsal = _rehearsal(parts, current) if data["is_current"] else None
    extra = {"seen": mark, "not_undone": NOT_UNDONE, **_shown(data["changes"], ask)}
    return _page({**data, "rehearsal": rehearsal}, spelled, position, extra=extra)


def _shown(changes: Sequence[Json], ask: Ask) -> Json:
    """The part of the changes that one page shows, the addresses of the parts beside it, and the kinds of all."""
    first = min(ask.number("from") or 0, len(changes))
    before, after = max(0, first - ON_A_PAGE), first + ON_A_PAGE
    kinds = Counter((each["change"], each["product"], each["data"]) for each in changes)
    return {
        "first": first,
        "most": ON_A_PAGE,
        "earlier": ask.address(**{"from": before or None}) if first else None,
        "following": ask.address(**{"from": after}) if after < len(changes) else None,
        "kinds": kinds.most_common(ON_A_PAGE) if len(changes) > ON_A_PAGE else (),
    }


def _page(data: Json, spelled: str, position: int, *, extra: Json, at: int | None = None) -> ConsolePage:
    title = f"Plan {data['plan']}" if data["plan"] else "Plans"
    return ConsolePage("plan", title, {"settled": None, **data}, spelled, at=at, position=position, extra=extra)


def _hash(plan: Plan) -> str | None:
    return plan.hash if plan.changes else None


def _data(current: Plan, before: Plan | None, hash_: str | None) -> Json:
    """The plan that is asked for, whether it is the current one, and what differs from when it was read."""
    is_current = bool(current.changes) and current.hash == hash_
    shown = before if before is not None and before.hash == hash_ else current
    return {
        "plan": hash_,
        "is_current": is_current,
        "current": current.hash if current.changes else None,
        "changes": shown.as_dicts,
        "since": _differences(before, current) if before is not None else None,
    }


def _differences(before: Plan, current: Plan) -> Json:
    """The changes that came since, and those that are gone or are others now."""
    old, new = (_by_name(plan.as_dicts) for plan in (before, current))
    return {
        "came": [new[name] for name in new if name not in old],
        "gone": [old[name] for name in old if name not in new],
        "others": [new[name] for name in new if name in old and new[name] != old[name]],
    }


def _by_name(changes: Iterable[Json]) -> Mapping[tuple[str, int], Json]:
    return {(change["tenant_id"], change["version"]): change for change in changes}


def _rehearsal(parts: Parts, current: Plan) -> Json | None:
    """What the approval would do; nothing where nothing of it can be approved."""
    from runtime.compose.operators import rehearsing_of  # noqa: PLC0415
    from runtime.reports.rehearsal import BECAUSE, rehearsal_data  # noqa: PLC0415

    try:
        by = Operator("nobody", channel="console")
        return rehearsal_data(rehearsing_of(parts).of_found(current, reason=BECAUSE, by=by, most=REHEARSED))
    except UsageError:
        return None


def _settled(parts: Parts, hash_: str | None) -> Json | None:
    """Who approved or rejected that plan, and when."""
    found = parts.past.settlement(hash_) if hash_ else None
    if found is None:
        return None
    verdict = "approved" if type(found.event).__name__ == "ChangesApproved" else "rejected"
    return {"verdict": verdict, "by": found.cause.source, "at": found.time, "position": found.position}


def plan_at(parts: Parts, position: int) -> Plan:
    """The plan as it was at a position: of the tenants that await approval now, or that were approved since."""
    from domain.tenant.approval import plan  # noqa: PLC0415
    from domain.tenant.events import ApprovalRequested, ClosingAwaitsApproval  # noqa: PLC0415
    from domain.tenant.state import stream_of  # noqa: PLC0415

    then = parts.past.adopted_at(position)
    used = then.configuration or parts.at_hand
    acts = parts.past.latest_acts(2**62, ACTS_LOOKED_THROUGH, after=position)
    settled = {_settled_tenant(act.stream) for act in acts}
    known = {*parts.log.awaiting_approval(), *(each for each in settled if each is not None)}
    streams = {stream_of(tenant_id): tenant_id for tenant_id in known}
    asked = parts.past.with_event(streams, (ApprovalRequested.TOPIC, ClosingAwaitsApproval.TOPIC), position)
    snapshots = _snapshots_at(parts, position, {streams[stream] for stream in asked}, then=then, catalog=used.catalog)
    time = parts.past.at(str(position), now=_now()).time
    return plan(snapshots, catalog=used.catalog, policy=used.policy, now=time)


def _snapshots_at(
    parts: Parts, position: int, tenants: set[str], *, then: Adopted, catalog: Catalog
) -> Iterator[TenantSnapshot]:
    """Of what has not moved since, as it is now; the others by their events up to the position."""
    from history import as_of  # noqa: PLC0415

    moved = tenants
    if then.version == parts.adopted.version:
        now = parts.saga.snapshots(tenants)
        owners = _owners(now)
        moved = {each for stream in parts.past.moved_since(owners, position) for each in owners[stream]}
        yield from (snapshot for tenant_id, snapshot in now.items() if tenant_id not in moved)
    yield from as_of.snapshots_of(
        moved, lambda streams: parts.past.events_of_streams(streams, position), catalog=catalog
    )


def _owners(snapshots: Mapping[str, TenantSnapshot]) -> Mapping[str, set[str]]:
    """The tenants whose snapshots are made of each stream: a customer's is made into those of all its tenants."""
    from domain import customer as customers  # noqa: PLC0415
    from domain.tenant.state import stream_of  # noqa: PLC0415

    found: dict[str, set[str]] = {}
    for tenant_id, snapshot in snapshots.items():
        streams = [stream_of(tenant_id), *map(str, snapshot.scopes)]
        if snapshot.tenant.attributes is not None:
            streams.append(customers.stream_of(snapshot.tenant.attributes.value.customer_id))
        for stream in streams:
            found.setdefault(stream, set()).add(tenant_id)
    return found


def _settled_tenant(stream: str) -> str | None:
    """The tenant, where the stream is a tenant's own: what awaits approval is in no other."""
    from domain.stream_name import StreamName  # noqa: PLC0415

    name = StreamName.parse(stream)
    return name.tenant_id if name.kind == "tenant" else None


def _now() -> Any:
    from runtime.compose.process import utc_now  # noqa: PLC0415

    return utc_now()
