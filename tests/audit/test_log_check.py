"""Is everything found that does not hang together in a log, and nothing in one that does?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.log_faults import LogFaults
from application.in_force import InForceRecorder
from audit.log_check import Checked, check
from domain.event import Cause, Recorded
from tests.history.stories import OpenKeys, Stories, append

Connection = psycopg.Connection[tuple[Any, ...]]
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def caused(facts: list[Recorded]) -> list[Recorded]:
    """Each fact caused by the one before it."""
    first = Cause(kind="message", source="/commerce", id="1")
    causes = [first, *(Cause(kind="event", source=fact.stream, id=str(fact.id)) for fact in facts)]
    return [msgspec.structs.replace(fact, cause=cause) for fact, cause in zip(facts, causes, strict=False)]


@pytest.fixture
def log(migrated_database: str) -> Iterator[Connection]:
    opened = PostgresEventLog(migrated_database, OpenKeys())
    append(opened, caused(Stories(5, tenants=6).take(200)))
    opened.close()
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        yield connection


def faults(url: str) -> list[tuple[int, str]]:
    return [(fault.position, fault.kind) for fault in checked(url).faults]


def checked(url: str) -> Checked:
    with LogFaults(url) as found:
        return check(found, size=64)


@pytest.mark.usefixtures("log")
def test_a_log_as_it_is_recorded_hangs_together(migrated_database: str) -> None:
    found = checked(migrated_database)
    assert (found.faults, found.more, found.position) == ((), 0, 200)


def test_what_is_in_force_has_no_cause_but_time_and_hangs_together(migrated_database: str, log: Connection) -> None:
    opened = PostgresEventLog(migrated_database, OpenKeys())
    recorder = InForceRecorder(
        opened, _Index(200), clock=lambda: NOW, new_id=uuid4, lease_seconds=1, monotonic=iter((0.0, 60.0)).__next__
    )
    assert [recorder.step(), recorder.step()] == [None, 200]
    opened.advance_mark()
    opened.close()
    assert log.execute("SELECT count(*) FROM stored_events").fetchone() == (201,)
    assert faults(migrated_database) == []


class _Index:
    """A log that has changed up to `position`, and of which nothing is in force yet."""

    def __init__(self, position: int) -> None:
        self._position = position

    def observe(self) -> tuple[int, int]:
        return self._position, self._position

    def last(self) -> None:
        return None


def test_a_gap_in_a_stream_is_named_and_so_is_the_cause_that_went_with_it(
    migrated_database: str, log: Connection
) -> None:
    [(position, stream, version)] = log.execute(
        "DELETE FROM stored_events WHERE notification_id = (SELECT min(notification_id) FROM stored_events"
        " WHERE originator_version = 2) RETURNING notification_id, originator_id, originator_version"
    ).fetchall()
    [(following,)] = log.execute(
        "SELECT notification_id FROM stored_events WHERE originator_id = %s AND originator_version = %s",
        (stream, version + 1),
    ).fetchall()
    assert set(faults(migrated_database)) == {(position + 1, "cause"), (following, "gap")}


def test_events_out_of_order_are_named(migrated_database: str, log: Connection) -> None:
    [(one, other)] = log.execute(
        "SELECT min(notification_id), max(notification_id) FROM stored_events WHERE originator_id = 'site:t1'"
    ).fetchall()
    assert one < other
    for old, new in ((one, 1_000_000), (other, one), (1_000_000, other)):
        log.execute("UPDATE stored_events SET notification_id = %s WHERE notification_id = %s", (new, old))
    assert (one, "order") in faults(migrated_database) or (other, "order") in faults(migrated_database)


def test_an_orphan_is_named_where_it_begins(migrated_database: str, log: Connection) -> None:
    log.execute("DELETE FROM stored_events WHERE originator_id = 'tenant:t2'")
    begins = log.execute(
        "SELECT min(notification_id) FROM stored_events WHERE split_part(originator_id, ':', 2) = 't2'"
        " AND originator_id NOT LIKE 'customer:%' GROUP BY originator_id ORDER BY 1"
    ).fetchall()
    found = [position for position, kind in faults(migrated_database) if kind == "orphan"]
    assert found == [position for (position,) in begins]


def test_what_this_version_cannot_read_is_named(migrated_database: str, log: Connection) -> None:
    log.execute("UPDATE stored_events SET topic = 'tenantry.unheard' WHERE notification_id = 70")
    log.execute(
        "UPDATE stored_events SET state = convert_to(replace(convert_from(state, 'UTF8'), '{\"v\":1,', '{\"v\":7,'),"
        " 'UTF8') WHERE notification_id = 80"
    )
    for position, state in ((90, b"\xff\xfe"), (150, b"[]")):
        log.execute("UPDATE stored_events SET state = %s WHERE notification_id = %s", (state, position))
    found = checked(migrated_database).faults
    assert {(fault.position, fault.kind) for fault in found if fault.kind != "cause"} == {
        (70, "topic"),
        (80, "schema"),
        (90, "state"),
        (150, "state"),
    }
    assert next(fault for fault in found if fault.position == 70).explanation.endswith("topic tenantry.unheard")


def test_a_cause_that_is_in_the_log_too_late_is_missing(migrated_database: str, log: Connection) -> None:
    missing = str(UUID(int=99))
    log.execute(
        "UPDATE stored_events SET state = convert_to(regexp_replace(convert_from(state, 'UTF8'),"
        ' \'"kind":"event","source":"[^"]*","id":"[^"]*"\','
        f' \'"kind":"event","source":"tenant:t1","id":"{missing}"\'), \'UTF8\') WHERE notification_id = 40'
    )
    [fault] = checked(migrated_database).faults
    assert (fault.position, fault.kind) == (40, "cause")
    assert f"caused by {missing} of tenant:t1" in fault.explanation
