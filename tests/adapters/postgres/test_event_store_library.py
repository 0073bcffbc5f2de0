"""Do the eventsourcing library's own parts work on our recorder, and on tables that alembic made?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.application import AggregateNotFoundError, Application, NotificationLog
from eventsourcing.domain import BaseAggregate, CanInitAggregate, CanMutateAggregate, MetaDomainEvent, event
from eventsourcing.persistence import IntegrityError, StoredEvent
from psycopg.conninfo import conninfo_to_dict

from adapters.postgres import high_water
from adapters.postgres.event_store import Recorder


class TextEvent(metaclass=MetaDomainEvent):
    """The library's `DomainEvent` with a text id, as our streams have; its own wants a UUID."""

    originator_id: str
    originator_version: int
    timestamp: datetime


class Shelf(BaseAggregate[str]):
    """A library aggregate."""

    class Event(CanMutateAggregate[str], TextEvent):
        pass

    @dataclass(frozen=True)
    class Created(Event, CanInitAggregate[str]):
        originator_topic: str

    @staticmethod
    def create_id() -> str:
        return f"shelf:{uuid4()}"

    def __init__(self) -> None:
        self.books: list[str] = []

    @event("BookAdded")
    def add(self, title: str) -> None:
        self.books.append(title)


class Library(Application[str]):
    name = ""  # the table is `stored_events`
    log_section_size = 20


@pytest.fixture
def library(migrated_database: str) -> Iterator[Library]:
    place = conninfo_to_dict(migrated_database)
    application = Library(
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "APPLICATION_RECORDER_TOPIC": "adapters.postgres.event_store:Recorder",
            "CREATE_TABLE": "n",
            "ORIGINATOR_ID_TYPE": "text",
            "POSTGRES_DBNAME": str(place["dbname"]),
            "POSTGRES_HOST": str(place["host"]),
            "POSTGRES_PORT": str(place["port"]),
            "POSTGRES_USER": str(place["user"]),
            "POSTGRES_PASSWORD": str(place.get("password", "")),
        }
    )
    yield application
    application.close()


@pytest.fixture
def recorder(library: Library) -> Recorder:
    assert isinstance(library.recorder, Recorder)
    return library.recorder


def publish_mark(database: str) -> int:
    """What the elected agent does every few milliseconds."""
    with psycopg.connect(database, autocommit=True) as connection:
        return high_water.advance(connection)


def stored(stream: str, versions: Sequence[int], state: bytes = b"{}") -> list[StoredEvent]:
    return [StoredEvent(stream, version, "tests:Happened", state) for version in versions]


def test_the_librarys_application_saves_and_loads_aggregates(library: Library) -> None:
    shelf = Shelf()
    shelf.add("Dune")
    recordings = library.save(shelf)
    assert [recording.notification.id for recording in recordings] == [1, 2]
    shelf.add("Emma")
    library.save(shelf)
    again: Shelf = library.repository.get(shelf.id)
    assert (again.books, again.version) == (["Dune", "Emma"], 3)
    assert library.repository.get(shelf.id, version=2).books == ["Dune"]
    with pytest.raises(AggregateNotFoundError):
        library.repository.get("shelf:none")


def test_two_that_save_the_same_version_get_the_librarys_integrity_error(library: Library) -> None:
    shelf = Shelf()
    library.save(shelf)
    one: Shelf = library.repository.get(shelf.id)
    other: Shelf = library.repository.get(shelf.id)
    one.add("Dune")
    library.save(one)
    other.add("Emma")
    with pytest.raises(IntegrityError):
        library.save(other)
    assert library.repository.get(shelf.id).books == ["Dune"]


def test_the_notification_log_shows_everything_up_to_the_mark_and_nothing_past_it(
    library: Library, migrated_database: str
) -> None:
    shelf = Shelf()
    for number in range(14):
        shelf.add(str(number))
    library.save(shelf)
    log: NotificationLog = library.notification_log
    assert list(log.select(start=1, limit=20)) == []
    assert publish_mark(migrated_database) == 15
    assert [each.id for each in log.select(start=1, limit=20)] == list(range(1, 16))
    assert [each.id for each in log.select(start=4, limit=3)] == [4, 5, 6]
    assert [each.originator_version for each in log.select(start=14, limit=10)] == [14, 15]
    section = log["1,10"]
    assert (section.id, len(section.items), section.next_id) == ("1,10", 10, "11,20")
    assert section.items[0].originator_id == shelf.id


def test_events_of_a_stream_are_selected_as_the_library_promises(recorder: Recorder) -> None:
    recorder.insert_events(stored("a:1", range(1, 8)))
    recorder.insert_events(stored("b:1", range(1, 3)))

    def versions(**limits: Any) -> list[int]:
        return [each.originator_version for each in recorder.select_events("a:1", **limits)]

    assert versions() == [1, 2, 3, 4, 5, 6, 7]
    assert versions(gt=2, lte=5) == [3, 4, 5]
    assert versions(desc=True, limit=2) == [7, 6]
    assert list(recorder.select_events("c:1")) == []


def test_notifications_are_selected_as_the_library_promises(recorder: Recorder, migrated_database: str) -> None:
    assert recorder.max_notification_id() is None
    recorder.insert_events(stored("a:1", [1, 2, 3]))
    recorder.insert_events([StoredEvent("b:1", 1, "tests:Other", b"other")])
    assert recorder.max_notification_id() is None
    publish_mark(migrated_database)
    assert recorder.max_notification_id() == 4

    def ids(start: int | None, limit: int, **limits: Any) -> list[int]:
        return [each.id for each in recorder.select_notifications(start, limit, **limits)]

    assert ids(1, 10) == [1, 2, 3, 4]
    assert ids(None, 10) == [1, 2, 3, 4]
    assert ids(2, 2) == [2, 3]
    assert ids(2, 10, inclusive_of_start=False) == [3, 4]
    assert ids(1, 10, stop=2) == [1, 2]
    assert ids(1, 10, topics=["tests:Other"]) == [4]
    (other,) = recorder.select_notifications(4, 1)
    assert (other.originator_id, other.originator_version, other.state) == ("b:1", 1, b"other")


def test_a_conflict_leaves_nothing_of_its_batch(recorder: Recorder, migrated_database: str) -> None:
    recorder.insert_events(stored("a:1", [1, 2]))
    for batch in (stored("a:1", [3, 4, 2]), [*stored("new:1", [1]), *stored("a:1", [2])], stored("x:1", [1, 1])):
        with pytest.raises(IntegrityError):
            recorder.insert_events(batch)
    assert [each.originator_version for each in recorder.select_events("a:1")] == [1, 2]
    assert list(recorder.select_events("new:1")) == []
    assert list(recorder.select_events("x:1")) == []
    recorder.insert_events(stored("a:1", [3]))
    publish_mark(migrated_database)
    assert [each.originator_id for each in recorder.select_notifications(1, 10)] == ["a:1"] * 3


def test_ten_thousand_events_in_one_append_are_recorded_in_order(recorder: Recorder, migrated_database: str) -> None:
    """The library's own append hangs from 3,000 on."""
    began = time.monotonic()
    ids = recorder.insert_events(stored("a:1", range(1, 10_001), state=b"x" * 300))
    assert time.monotonic() - began < 20
    assert ids is not None
    assert list(ids) == list(range(1, 10_001))
    assert publish_mark(migrated_database) == 10_000
    assert len(recorder.select_notifications(1, 20_000)) == 10_000
    assert [each.originator_version for each in recorder.select_events("a:1", gt=9_998)] == [9_999, 10_000]


def test_an_empty_append_is_nothing(recorder: Recorder) -> None:
    assert not recorder.insert_events([])
