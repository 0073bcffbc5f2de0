"""Page of the explanation: why each product of a tenant is, or was, usable or not, back to the message on Kafka."""

from __future__ import annotations

from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    from adapters.postgres.past import Moment  # noqa: PLC0415 - the live page needs no event
    from runtime.compose.process import utc_now  # noqa: PLC0415
    from runtime.reports.explanation import explanation_at  # noqa: PLC0415
    from runtime.reports.tenant import events_until  # noqa: PLC0415

    tenant_id, parts, position = ask.named["tenant"], desk.parts, desk.reads.position()
    now, given = utc_now(), ask.get("at")
    moment = parts.past.at(given, now=now) if given else Moment(parts.past.mark(), now)
    events = events_until(parts, tenant_id, moment)
    data = {
        "tenant_id": tenant_id,
        "at": {"position": moment.position, "time": moment.time},
        "products": explanation_at(parts, tenant_id, events, moment),
    }
    return ConsolePage(
        "explain",
        f"Why: {tenant_id}",
        data,
        command("explain", tenant_id, at=moment.position if given else None),
        watches=tenant_id,
        at=moment.position if given else None,
        position=position,
        extra={
            "evidence": command("audit", "evidence", tenant_id),
            "suffix": f"?at={moment.position}" if given else "",
        },
    )
