"""Does a position lie behind control records, and does one that Kafka does not have stop only its partition?"""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from application.ports.inbox import KafkaPosition
from application.unit_of_work import UnitOfWork
from tests.fakes.kafka import InMemoryBroker
from tests.workers.taking import TOPIC, Ledger, broker_with, intake_of, let_run
from workers import intake as intakes


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intakes, "LOOK_SECONDS", 0.0)


def put(broker: InMemoryBroker, partition: int, *values: bytes) -> None:
    for value in values:
        broker.append_at(TOPIC, partition, key=None, value=value, headers=())


def positions(broker: InMemoryBroker, ledger: Ledger) -> dict[int, int]:
    found = ledger.log.positions([broker.topic_ids([TOPIC])[TOPIC]])
    return {partition: offset for (_, partition), offset in found.items()}


def set_position(broker: InMemoryBroker, ledger: Ledger, partition: int, *, expected: int | None, to: int) -> None:
    topic_id = broker.topic_ids([TOPIC])[TOPIC]
    ledger.log.record(UnitOfWork(positions=[KafkaPosition(TOPIC, topic_id, partition, expected, to)]))


def test_a_control_record_moves_the_position_and_brings_nothing() -> None:
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger)
    put(broker, 0, b"0")
    let_run(intake, 3)
    broker.append_control(TOPIC, 0)
    let_run(intake, 2)
    assert (ledger.taken, positions(broker, ledger)) == ([(0, 0)], {0: 2})
    broker.append_control(TOPIC, 0)
    put(broker, 0, b"3")
    let_run(intake, 2)
    assert (ledger.taken, positions(broker, ledger)) == ([(0, 0), (0, 3)], {0: 4})


def test_retention_that_takes_a_control_record_only_took_nothing() -> None:
    broker, ledger = broker_with(), Ledger()
    put(broker, 0, b"0")
    broker.append_control(TOPIC, 0)
    first = intake_of(broker, ledger)
    let_run(first, 2)
    first.close()
    broker.remove_before(TOPIC, 0, 2)
    put(broker, 0, b"2")
    intake = intake_of(broker, ledger)
    let_run(intake, 3)
    assert intake.reading["set_aside"] == {}
    assert ledger.taken == [(0, 0), (0, 2)]


def test_a_partition_that_lost_messages_stands_still_and_is_told_once_while_the_others_go_on() -> None:
    broker, ledger = broker_with(2), Ledger()
    put(broker, 0, b"0", b"1", b"2", b"3")
    set_position(broker, ledger, 0, expected=None, to=1)
    broker.remove_before(TOPIC, 0, 3)
    intake = intake_of(broker, ledger)
    with structlog.testing.capture_logs() as lines:
        let_run(intake, 3)
        put(broker, 1, b"elsewhere")
        let_run(intake, 5)
    assert ledger.taken == [(1, 0)]
    why: Any = intake.reading["set_aside"]
    assert "offsets 1 to 2 were removed unread" in why[f"{TOPIC}/0"]
    assert intake.reading["partitions"] == [f"{TOPIC}/1"]
    assert [line["event"] for line in lines].count("a partition stands still") == 1


def test_a_partition_goes_on_by_itself_when_its_position_was_moved() -> None:
    broker, ledger = broker_with(), Ledger()
    put(broker, 0, b"0", b"1", b"2", b"3")
    set_position(broker, ledger, 0, expected=None, to=1)
    broker.remove_before(TOPIC, 0, 3)
    intake = intake_of(broker, ledger)
    let_run(intake, 3)
    set_position(broker, ledger, 0, expected=1, to=3)
    let_run(intake, 3)
    assert (ledger.taken, positions(broker, ledger)) == ([(0, 3)], {0: 4})
    assert intake.reading["set_aside"] == {}


def test_an_intake_whose_only_partition_stands_still_is_ready_all_the_same() -> None:
    broker, ledger = broker_with(), Ledger()
    set_position(broker, ledger, 0, expected=None, to=7)
    intake = intake_of(broker, ledger)
    said: list[str] = []

    class Stop:
        turns = 0

        def is_set(self) -> bool:
            self.turns += 1
            return self.turns > 5

        def wait(self, _: float) -> None: ...

    intake.run(Stop(), ready=lambda: said.append("ready"))  # type: ignore[arg-type]
    assert said == ["ready"]


def test_a_message_that_no_client_decodes_is_handed_on_with_its_position() -> None:
    broker, ledger = broker_with(), Ledger()
    put(broker, 0, b"0")
    broker.append_undecodable(TOPIC, 0, b"raw", "its checksum is wrong")
    put(broker, 0, b"2")
    let_run(intake_of(broker, ledger), 3)
    assert (ledger.taken, positions(broker, ledger)) == ([(0, 0), (0, 1), (0, 2)], {0: 3})


def test_a_position_that_was_moved_back_is_noticed_though_nothing_comes() -> None:
    broker, ledger = broker_with(), Ledger()
    put(broker, 0, b"0", b"1")
    intake = intake_of(broker, ledger)
    let_run(intake, 3)
    set_position(broker, ledger, 0, expected=2, to=1)
    let_run(intake, 3)
    assert ledger.taken == [(0, 0), (0, 1), (0, 1)]
