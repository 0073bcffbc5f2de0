"""Is an event found by its id, wherever in the log it lies?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from adapters.postgres import console_search
from adapters.postgres.console_reads import ConsoleReader
from domain.event_ids import event_id

BEGIN = datetime(2026, 6, 1, 12, tzinfo=UTC)
EVENTS = 100


@pytest.fixture
def ids(migrated_database: str) -> list[str]:
    """The ids of events, one a second; each was made half a second before its event."""
    times = [BEGIN + timedelta(seconds=number) for number in range(EVENTS)]
    made = [str(event_id(int(time.timestamp() * 1000) - 500, number.to_bytes(10))) for number, time in enumerate(times)]
    with psycopg.connect(migrated_database) as connection:
        for number, (id_, time) in enumerate(zip(made, times, strict=True)):
            state = f'{{"id":"{id_}","at":"{time.isoformat().replace("+00:00", "Z")}"}}'
            connection.execute(
                "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (%s, 1, %s, %s)",
                (f"tenant:t-{number}", "tenantry.tenant-created", state.encode()),
            )
        connection.execute("UPDATE high_water_mark SET position = %s", (EVENTS,))
    return made


def test_an_event_is_found_by_its_id_far_from_the_end_of_the_log(
    migrated_database: str, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_search, "LOOKED_THROUGH", 4)
    reader = ConsoleReader(migrated_database)
    found = [[row["position"] for row in reader.search(id_) if row["kind"] == "event"] for id_ in ids]
    reader.close()
    assert found == [[position] for position in range(1, EVENTS + 1)]
