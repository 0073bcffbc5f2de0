"""Page of the search: a tenant, a host, an event, a message by its id or its place on Kafka, an idempotency key."""

from __future__ import annotations

from typing import Final

from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command

LONGEST: Final = 300


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    text = (ask.get("q") or "")[:LONGEST]
    found = desk.reads.search(text) if text else []
    data = {"q": text, "found": [{**row, "address": _address(row)} for row in found]}
    return ConsolePage("search", "Search", data, command("show", text or "TENANT"), watches=None)


def _address(row: dict[str, object]) -> str | None:
    tenant, position = row.get("tenant_id"), row.get("position")
    if tenant is not None and position is not None:
        return f"/t/{tenant}/timeline?upto={position}#p{position}"
    if row.get("number") is not None:
        return f"/quarantine?after={int(str(row['number'])) - 1}"
    return f"/t/{tenant}" if tenant is not None else None
