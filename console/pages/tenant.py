"""Page of one tenant, now or then: product by seven steps, desired beside actual, countdowns, what is in the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command

if TYPE_CHECKING:
    from adapters.postgres.past import Moment
    from domain.event import Recorded
    from runtime.compose.parts import Parts

STEPS: Final = ("commerce", "site", "region", "configuration", "identity", "database", "license")

Json = dict[str, Any]


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    from runtime.reports.tenant import snapshot_of  # noqa: PLC0415 - the live page needs no event

    tenant_id, parts, position = ask.named["tenant"], desk.parts, desk.reads.position()
    at, beside = _moment(parts, ask.get("at")), _moment(parts, ask.get("beside"))
    known = _events(parts, tenant_id, at, beside)
    data = _state(parts, tenant_id, at, known)
    moments = positions_of(parts, tenant_id)
    data["at"] = None if at is None else {"position": at.position, "time": at.time}
    if beside is not None:
        data |= _beside(data, _state(parts, tenant_id, beside, known), beside)
    extra: Json = {
        "steps": STEPS,
        "moments": moments,
        "neighbours": _neighbours(ask, moments, at.position if at is not None else None),
        "acts": {} if at is not None else _acts(snapshot_of(parts, tenant_id)),
        "countdowns": list(_countdowns(data)),
        "scopes": list(_scopes(data["actual"])),
        "timeline": f"/t/{tenant_id}/timeline",
        "restorable": at is None and data["desired_state"]["tenant"]["destroyed"],
    }
    spelled = (
        command("diff", tenant_id, from_=data["beside"]["at"]["position"], to=at.position if at else "now")
        if beside is not None
        else command("show", tenant_id, at=at.position if at is not None else None)
    )
    title = f"Tenant {tenant_id}"
    past = at.position if at is not None else None
    return ConsolePage("tenant", title, data, spelled, watches=tenant_id, at=past, position=position, extra=extra)


def _moment(parts: Parts, text: str | None) -> Moment | None:
    from runtime.compose.process import utc_now  # noqa: PLC0415

    return parts.past.at(text, now=utc_now()) if text is not None else None


def _events(parts: Parts, tenant_id: str, *moments: Moment | None) -> Sequence[Recorded]:
    """What was recorded of the tenant up to the last of the moments; nothing where none is given."""
    from runtime.reports.tenant import events_until  # noqa: PLC0415

    last = max((each for each in moments if each is not None), key=lambda each: each.position, default=None)
    return events_until(parts, tenant_id, last) if last is not None else ()


def _state(parts: Parts, tenant_id: str, at: Moment | None, known: Sequence[Recorded]) -> Json:
    from runtime.compose.read_models import READ_MODELS  # noqa: PLC0415
    from runtime.reports.tenant import tell, tell_at  # noqa: PLC0415

    impersonal = [each for each in READ_MODELS if not each.personal]
    if at is None:
        return tell(parts, tenant_id, projections=impersonal)
    shown = {"tenant_id", "desired_state", "actual", *(each.name for each in impersonal)}
    return {
        name: value
        for name, value in tell_at(parts, tenant_id, at, projections=impersonal, among=known).items()
        if name in shown
    }


def _beside(data: Json, other: Json, beside: Moment) -> Json:
    """The other moment, and what differs."""
    from history.as_of import differences  # noqa: PLC0415

    found = differences(other, {name: value for name, value in data.items() if name != "at"})
    changes = [{"where": where, "before": before, "after": after} for where, before, after in found]
    return {"beside": {**other, "at": {"position": beside.position, "time": beside.time}}, "changes": changes}


def positions_of(parts: Parts, tenant_id: str) -> list[int]:
    """The positions at which something of the tenant was recorded."""
    return parts.past.positions_of(tenant_id)


def _neighbours(ask: Ask, moments: list[int], at: int | None) -> Json:
    """The addresses of the moments before and after, and of the present."""
    before = max((each for each in moments if at is None or each < at), default=None)
    after = min((each for each in moments if at is not None and each > at), default=None)
    return {
        "before": ask.address(at=before) if before is not None else None,
        "after": ask.address(at=after) if after is not None else None,
        "now": ask.address(at=None, beside=None) if at is not None else None,
    }


def _acts(snapshot: Any) -> dict[str, list[str]]:
    """The acts that would not be refused now, by scope."""
    from application.operator_commands import Act, decide  # noqa: PLC0415
    from domain.errors import UsageError  # noqa: PLC0415

    found: dict[str, list[str]] = {}
    for scope in snapshot.scopes:
        for kind in ("retry", "release", "hold", "ensure"):
            try:
                decide(Act(kind, scope, "?"), snapshot.actual(scope))
            except UsageError:
                continue
            found.setdefault(str(scope), []).append(kind)
    return found


def _scopes(actual: Json) -> Iterator[tuple[str, Json]]:
    yield "site", actual["site"]
    yield from ((f"family {key}", each) for key, each in actual["families"].items())
    yield from ((f"product {key}", each) for key, each in actual["products"].items())


def _countdowns(data: Json) -> Iterator[tuple[str, str, Any]]:
    """What happens by itself: of which scope, what, when."""
    for name, each in _scopes(data["actual"]):
        if each.get("until"):
            yield name, each.get("reason") or each["state"], each["until"]
    for row in data["provisionings"]:
        if row.get("retry_at"):
            yield f"{row['kind']} {row['key']}".strip(), "is tried again", row["retry_at"]
    for key, product in data["desired_state"]["products"].items():
        expires = (product["license"] or {}).get("value", {}).get("expires_at")
        if expires:
            yield f"product {key}", "its license expires", expires
