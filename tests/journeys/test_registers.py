"""Is the order of arrival irrelevant through Kafka and PostgreSQL as well?

A part of the golden cases that tests/domain/test_registers.py runs in memory: shuffled, with duplicates, all at once.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.journeys.events import Event
from tests.journeys.running import Running

VECTORS = Path(__file__).parent.parent / "vectors" / "registers.jsonl"
CASES = [json.loads(line) for line in VECTORS.read_text().splitlines()][::4]


def test_shuffled_and_repeated_golden_cases_end_in_the_stated_registers(tenantry: Running) -> None:
    assert len(CASES) == 15
    dice = random.Random(20260601)  # noqa: S311 - a test repeats its dice
    events = [
        Event(
            each["type"],
            each["data"],
            each["revision"],
            mode=dice.choice(("structured", "binary")),
        )
        for case in CASES
        for each in case["events"]
    ]
    arriving = events + dice.choices(events, k=len(events) // 2)
    dice.shuffle(arriving)
    tenantry.send(*arriving)
    tenantry.until_taken_in(*events)
    tenantry.until_settled()
    ids = [event.id for event in events]
    assert tenantry.one("SELECT count(*) FROM waiting WHERE id = ANY(%s)", ids) == 0
    assert tenantry.one("SELECT count(*) FROM quarantine WHERE id = ANY(%s)", ids) == 0
    repeats = tenantry.one("SELECT sum(duplicates)::int FROM incoming WHERE id = ANY(%s)", ids)
    assert repeats == len(arriving) - len(events)
    for case in CASES:
        told = tenantry.show(case["events"][0]["data"]["tenant_id"])
        assert told["desired_state"] == as_of(datetime.now(UTC), case["desired_state"]), case["name"]


def as_of(now: datetime, desired_state: dict[str, Any]) -> dict[str, Any]:
    """What is stated for the time of the vectors, today: meanwhile a licence in them may have run out."""
    for product in desired_state["products"].values():
        expires_at = product["license"] and product["license"]["value"]["expires_at"]
        if expires_at and datetime.fromisoformat(expires_at) <= now and product["desired"] == "open":
            product["desired"] = "closed"
    return desired_state
