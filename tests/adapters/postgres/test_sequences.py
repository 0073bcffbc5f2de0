"""Does a reader get each event, whatever somebody else has done to the sequences?"""

from __future__ import annotations

import psycopg
import pytest
import structlog

from adapters.postgres.event_log import PostgresEventLog
from application.ports import Recording, WorkItem
from domain.errors import Unavailable
from tests.adapters.postgres.appending import NOW, event_log, fact, stored

POSITIONS = "stored_events_notification_id_seq"


def append(log: PostgresEventLog) -> int:
    return list(log.recorder.insert_events(stored(log)) or ())[-1]


def do(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def filled(url: str) -> int:
    """A log with a gap, where an append was rolled back; the mark."""
    with event_log(url) as log:
        positions = [append(log) for _ in range(6)]
        do(url, f"DELETE FROM stored_events WHERE notification_id = {positions[2]}")
        return log.advance_mark()


def test_after_a_failover_to_a_copy_whose_sequence_begins_anew_a_reader_gets_each_event(migrated_database: str) -> None:
    """Logical replication brings rows along, and no sequences: the first positions drawn were below the mark."""
    mark = filled(migrated_database)
    do(migrated_database, f"SELECT setval('{POSITIONS}', 2)")
    with structlog.testing.capture_logs() as lines, event_log(migrated_database) as log:
        appended = [append(log) for _ in range(5)]
        log.advance_mark()
        assert [each.position for each in log.read(mark, 10)] == appended
    assert [line["log_level"] for line in lines] == ["warning"]


def test_after_a_restore_of_the_mark_alone_nothing_is_appended_below_it(migrated_database: str) -> None:
    mark = filled(migrated_database)
    do(migrated_database, "TRUNCATE stored_events", f"SELECT setval('{POSITIONS}', 1, false)")
    with event_log(migrated_database) as log:
        assert append(log) == mark + 1


def test_the_other_sequences_are_moved_on_with_that_of_positions(migrated_database: str) -> None:
    filled(migrated_database)
    with event_log(migrated_database) as log:
        log.record(Recording(work_items=[WorkItem("site:a", NOW), WorkItem("site:b", NOW)]))
        (lease,) = log.claim(owner="a", limit=1, now=NOW, until=NOW)
    do(
        migrated_database,
        *(f"SELECT setval('{name}', 1, false)" for name in (POSITIONS, "wakes_number_seq", "lease_tokens")),
    )
    with event_log(migrated_database) as log:
        log.record(Recording(events=[fact("tenant:t-1")], work_items=[WorkItem("site:c", NOW)]))
        leases = log.claim(owner="b", limit=9, now=NOW, until=NOW)
    assert len({number for each in leases for number in each.work_items}) == 3
    assert min(each.token for each in leases) > lease.token


def test_a_sequence_that_hands_out_blocks_is_refused_with_what_helps(migrated_database: str) -> None:
    """The mark follows the sequence, so it would pass over positions that a session holds and has not used."""
    do(migrated_database, f"ALTER SEQUENCE {POSITIONS} CACHE 20")
    with pytest.raises(Unavailable, match="CACHE 1") as raised, event_log(migrated_database):
        pass
    assert raised.value.why == "sequence-cached"
    do(migrated_database, f"ALTER SEQUENCE {POSITIONS} CACHE 1")
    with event_log(migrated_database) as log:
        assert append(log) > 0


def test_a_connection_to_a_log_as_it_should_be_moves_nothing(migrated_database: str) -> None:
    mark = filled(migrated_database)
    with structlog.testing.capture_logs() as lines, event_log(migrated_database) as log:
        assert append(log) == mark + 1
    assert lines == []
