"""Text of the waits of the workers, as `status` prints them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from cli.output import Line, table
from domain.times import age


def waits_text(data: Mapping[str, Any]) -> Iterator[Line]:
    """A table of the waiting loops, a line for each other problem, and the paths of the logs."""
    rows = [(each["who"], each["why"], age(_seconds(each["since"])), each["text"]) for each in data["waits"]]
    if rows:
        yield table("waiting", ("who", "for", "since", ""), rows)
    yield from data["notes"]
    for number, place in enumerate(data["logs"]):
        yield f"{'logs  ' if not number else '      '}{place}"


def _seconds(since: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
