"""Is each message taken in once, in its order, whatever goes away while it is?"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest
import structlog

from adapters.postgres.event_log import PostgresEventLog
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, Fault, PositionLost, TenantryError, Unavailable
from domain.faults import IntakeHalted
from tests.fakes.kafka import InMemoryBroker
from tests.fakes.sealing import InMemorySealingKeys
from tests.workers.planted import ForgetfulIntake
from tests.workers.taking import AWAY, TOPIC, Ledger, broker_with, intake_of, let_run, publish


def test_a_batch_that_failed_is_taken_before_the_next_also_where_nobody_says_where_to_go_on() -> None:
    """Offsets 0 and 1 fail once, and so does the question where the database is; then 2 comes."""
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger)
    let_run(intake, 2)
    publish(broker, "a", "a")
    ledger.to_fail, ledger.positions_to_fail = [AWAY], 1

    let_run(intake, 4, meanwhile=lambda decision: publish(broker, *(["a"] if decision == 1 else [])))

    assert ledger.taken == [(0, 0), (0, 1), (0, 2)]


def test_an_intake_that_forgets_to_go_back_loses_what_failed() -> None:
    """The fault of old, planted: so the tests of outages see what they are to find."""
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger, kind=ForgetfulIntake)
    let_run(intake, 2)
    publish(broker, "a", "a")
    ledger.to_fail, ledger.positions_to_fail = [AWAY], 1

    let_run(intake, 4, meanwhile=lambda decision: publish(broker, *(["a"] if decision == 1 else [])))

    assert ledger.taken == [(0, 2)]


def test_a_batch_that_failed_comes_again_by_itself() -> None:
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger)
    let_run(intake, 1)
    publish(broker, "a", "a")
    ledger.to_fail, ledger.positions_to_fail = [AWAY], 3

    let_run(intake, 6)

    assert ledger.taken == [(0, 0), (0, 1)]


def test_an_outage_is_over_when_the_batch_is_recorded_and_not_when_the_database_answers_a_question() -> None:
    """A database that is read-only says where to go on, and takes nothing down: that is one outage, told once."""
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger)
    let_run(intake, 1)
    publish(broker, "a", "a")
    ledger.to_fail = [AWAY] * 5

    with structlog.testing.capture_logs() as lines:
        let_run(intake, 12)

    assert ledger.taken == [(0, 0), (0, 1)]
    assert [line["log_level"] for line in lines] == ["warning", "info"]
    assert intake.outage.waits is None


def test_a_statement_of_ours_that_is_refused_ends_no_intake_and_is_told_once() -> None:
    """A Fault of the question where to begin: the intake waits, says so, and goes on when it is answered."""
    broker, ledger = broker_with(), Ledger(positions_error=Fault("the database refused a statement of Tenantry's own"))
    publish(broker, "a", "a")
    ledger.positions_to_fail = 3
    intake = intake_of(broker, ledger)

    with structlog.testing.capture_logs() as lines:
        let_run(intake, 8)

    assert ledger.taken == [(0, 0), (0, 1)]
    assert [line["log_level"] for line in lines] == ["error", "info"]
    assert intake.outage.waits is None


def test_a_batch_carries_the_position_that_it_was_fetched_from() -> None:
    """So the one after a batch that failed cannot be recorded, even by an intake that does not go back."""
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger)
    publish(broker, "a")
    intake.step()
    ledger.to_fail = [AWAY]
    publish(broker, "a")
    with pytest.raises(type(AWAY)):
        intake.step()
    publish(broker, "a")
    with pytest.raises(PositionLost):
        intake.step()
    assert ledger.taken == [(0, 0)]


def test_nothing_is_polled_from_a_wrong_place_while_the_database_is_away() -> None:
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger)
    let_run(intake, 1)
    publish(broker, "a")
    ledger.to_fail, ledger.positions_to_fail = [AWAY], 5
    before = ledger.asked

    let_run(intake, 7)

    assert (ledger.taken, ledger.asked - before) == ([(0, 0)], 6)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_fails_each_offset_is_taken_once_and_in_order(seed: int) -> None:
    """Recordings fail, before or after the fact, questions fail, intakes come and go, more is published."""
    dice = random.Random(seed)  # noqa: S311
    broker, ledger = broker_with(3), Ledger()
    intakes = [intake_of(broker, ledger, batch=dice.choice((1, 3, 500)))]
    record = ledger.log.record
    unsure: list[TenantryError] = []

    def record_and_break(recording: UnitOfWork) -> None:
        record(recording)
        if recording.positions and unsure:
            raise unsure.pop()

    ledger.log.record = record_and_break  # type: ignore[method-assign]

    def publish_some() -> None:
        publish(broker, *(dice.choice("abcdefg") for _ in range(dice.randrange(1, 5))))

    def join() -> None:
        if len(intakes) < 3:
            intakes.append(intake_of(broker, ledger, batch=dice.choice((1, 500))))

    def leave() -> None:
        if len(intakes) > 1:
            intakes.pop(dice.randrange(len(intakes))).close()

    acts: list[Callable[[], object]] = [
        publish_some,
        join,
        leave,
        lambda: ledger.to_fail.append(dice.choice((AWAY, Conflict("somebody was first")))),
        lambda: setattr(ledger, "positions_to_fail", dice.randrange(3)),
        lambda: unsure.append(AWAY),
        *[lambda: dice.choice(intakes).round()] * 3,
    ]
    for _ in range(150):
        dice.choice(acts)()
    ledger.to_fail, ledger.positions_to_fail = [], 0
    unsure.clear()
    for _ in range(300):
        for intake in intakes:
            intake.round()

    everything = {(message.partition, message.offset) for message in broker.messages("tenantry.lifecycle")}
    assert set(ledger.taken) == everything
    assert len(ledger.taken) == len(everything)
    for partition in range(3):
        offsets = [offset for number, offset in ledger.taken if number == partition]
        assert offsets == sorted(offsets)


def test_sessions_that_the_server_cuts_when_idle_lose_nothing(migrated_database: str) -> None:
    """All of the pool's sessions are cut at once: the recording fails, and so does the question after it."""
    with psycopg.connect(migrated_database, autocommit=True) as owner:
        name = owner.info.dbname
        owner.execute(f"ALTER DATABASE {name} SET idle_session_timeout = '60ms'")
    log = PostgresEventLog(migrated_database, InMemorySealingKeys(), pool_size=2)
    broker, ledger = broker_with(), Ledger(log)
    intake = intake_of(broker, ledger)
    for _ in range(12):
        publish(broker, "a")
        intake.round()
        with suppress(Unavailable):
            log.positions(["so that two sessions lie idle"])
        time.sleep(0.1)
    for _ in range(6):
        intake.round()
    log.close()

    assert ledger.taken == [(0, offset) for offset in range(12)]


# -- errors that nobody expects --------------------------------------------------------------------------------------


def test_a_batch_that_meets_an_unexpected_error_is_bisected_and_one_message_is_set_aside() -> None:
    broker, ledger = broker_with(2), Ledger()
    intake = intake_of(broker, ledger)
    publish(broker, *"abcdefghijklmnopqrstuvwxyz")
    bad = {(0, 3), (1, 5), (1, 6)}
    ledger.bad = set(bad)

    let_run(intake, 2)

    assert ledger.aside == sorted(bad)
    assert sorted(ledger.taken) == sorted(set(places(broker)) - bad)
    for partition in range(2):
        offsets = [offset for number, offset in ledger.everything if number == partition]
        assert offsets == sorted(offsets) == list(range(len(offsets)))


def test_a_message_that_cannot_even_be_read_is_set_aside() -> None:
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger, read=lambda message: -1 // message.offset and message)
    publish(broker, "a", "a", "a")
    let_run(intake, 2)
    assert (ledger.aside, ledger.taken) == ([(0, 0)], [(0, 1), (0, 2)])


def test_what_can_be_neither_taken_in_nor_quarantined_is_tried_again_and_nothing_is_lost() -> None:
    """As with a database that answers with an error of a kind that we do not know: it may pass."""
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger)
    publish(broker, "a", "a", "a")
    ledger.bad, ledger.is_hopeless = {(0, 1)}, True
    let_run(intake, 5)
    assert ledger.taken == [(0, 0)]
    ledger.bad = set()
    let_run(intake, 3)
    assert ledger.taken == [(0, 0), (0, 1), (0, 2)]


def test_an_intake_that_halts_takes_nothing_more_until_it_is_started_again() -> None:
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger)
    publish(broker, "a", "a")
    ledger.to_fail = [IntakeHalted(6)]
    stop = threading.Event()
    running = threading.Thread(target=intake.run, args=(stop,))
    running.start()
    until(lambda: intake.halted is not None)
    publish(broker, "a")
    assert "the fault is in Tenantry, not in the messages" in str(intake.halted)
    assert ledger.taken == []
    stop.set()
    running.join(10)

    let_run(intake_of(broker, ledger), 3)
    assert ledger.taken == [(0, 0), (0, 1), (0, 2)]


def test_a_database_that_goes_away_in_the_middle_of_a_bisection_loses_nothing() -> None:
    broker, ledger = broker_with(), Ledger()
    intake = intake_of(broker, ledger)
    publish(broker, *"aaaaaaaa")
    ledger.bad, ledger.to_fail_after = {(0, 5)}, 1
    let_run(intake, 4)
    assert ledger.aside == [(0, 5)]
    assert ledger.everything == [(0, offset) for offset in range(8)]


def places(broker: InMemoryBroker) -> list[tuple[int, int]]:
    return [(message.partition, message.offset) for message in broker.messages(TOPIC)]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
