"""Is every byte that is changed, deleted, inserted or swapped found, and named by its position?

Each case is done to a real table in a transaction that is taken back. A log has some hundreds of events over several
tiles, gaps in its positions, and checkpoints on its way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import psycopg
import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.seal_store import COLUMNS
from audit.seal import Seal, hashed
from audit.verification import KEPT, Verification
from tests.audit.sealing import (
    EVENTS,
    KEYS,
    Connection,
    Log,
    Within,
    append,
    forge,
    found,
    sealed_log,
    verified,
    verify,
    with_gaps,
)

CASES = 200
UNTOUCHED = 50


Expected = list[tuple[str, int, int]]
Tampering = Callable[[Connection, Log, random.Random], Expected]


@pytest.fixture(scope="module")
def log(postgres: EmbeddedPostgres) -> Iterator[Log]:
    yield from sealed_log(postgres, "test_tampering")


# -- ways to tamper with events ------------------------------------------------------------------------------------


def flip(connection: Connection, log: Log, rng: random.Random) -> Expected:
    """One bit of a state, or one letter of another column."""
    at = rng.choice(log.positions)
    change = rng.choice(
        [
            "state = set_bit(state, {bit}, 1 - get_bit(state, {bit}))".format(bit=rng.randrange(64)),
            f"topic = overlay(topic PLACING 'X' FROM {rng.randrange(1, 20)})",
            "originator_id = originator_id || '0'",
            "originator_version = originator_version + 1000000",
            "topic = topic || left(convert_from(state, 'UTF8'), 1), state = substr(state, 2)",  # moved over the border
        ]
    )
    connection.execute(f"UPDATE stored_events SET {change} WHERE notification_id = {at}".encode())
    return [("changed", at, at)]


def delete(connection: Connection, log: Log, rng: random.Random) -> Expected:
    at = rng.choice(log.positions)
    connection.execute("DELETE FROM stored_events WHERE notification_id = %s", (at,))
    return [("deleted", at, at)]


def insert(connection: Connection, log: Log, rng: random.Random) -> Expected:
    """A copy of an event where no position was used, also before the first."""
    at = rng.choice([*log.gaps, 0, -5])
    connection.execute(
        f"INSERT INTO stored_events ({COLUMNS}) SELECT %s, originator_id, originator_version + 1000000, topic, state"
        " FROM stored_events WHERE notification_id = %s",
        (at, rng.choice(log.positions)),
    )
    return [("inserted", at, at)]


def swap(connection: Connection, log: Log, rng: random.Random) -> Expected:
    one, other = sorted(rng.sample(log.positions, 2))
    for old, new in ((one, -one), (other, one), (-one, other)):
        connection.execute("UPDATE stored_events SET notification_id = %s WHERE notification_id = %s", (new, old))
    if other == one + 1:
        return [("changed", one, other)]
    return [("changed", one, one), ("changed", other, other)]


def move(connection: Connection, log: Log, rng: random.Random) -> Expected:
    old, new = rng.choice(log.positions), rng.choice(log.gaps)
    connection.execute("UPDATE stored_events SET notification_id = %s WHERE notification_id = %s", (new, old))
    return sorted([("deleted", old, old), ("inserted", new, new)], key=lambda each: each[1])


def truncate(connection: Connection, log: Log, rng: random.Random) -> Expected:
    """The end of the log, with its tiles and its checkpoints, sealed anew as if there had been no more."""
    keep = rng.randrange(EVENTS)
    connection.execute("DELETE FROM stored_events WHERE notification_id >= %s", (log.positions[keep],))
    forge(connection, log.positions[:keep])
    return [("cut off", (log.positions[keep - 1] if keep else 0) + 1, log.positions[-1])]


WAYS: list[Tampering] = [flip, delete, insert, swap, move, truncate]


# -- the proof -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_whatever_is_done_to_the_log_is_found_at_its_position(log: Log) -> None:
    for case in range(CASES):
        rng = random.Random(case)  # noqa: S311 - a case is to be told again
        way = WAYS[case % len(WAYS)]
        outside = log.held if way is truncate else rng.choice([None, log.held])
        with psycopg.connect(log.url) as connection:
            expected = way(connection, log, rng)
            result = Verification(Within(connection), KEYS).verify(outside)
            connection.rollback()
        assert found(result) == expected, (case, way.__name__)
    assert verify(log.url).findings == []


@pytest.mark.slow
def test_nothing_is_found_where_nothing_was_done(log: Log) -> None:
    for case in range(UNTOUCHED):
        with psycopg.connect(log.url) as connection:
            connection.execute("TRUNCATE stored_events, seal_tiles, seal_checkpoints RESTART IDENTITY")
            connection.execute("UPDATE high_water_mark SET position = 0")
            rng = random.Random(case)  # noqa: S311 - as above
            positions, at = with_gaps(rng.randrange(1, 800), case), 0
            held = []
            while at < len(positions):
                step = rng.randrange(1, 400)
                append(connection, positions[at : at + step])
                note = Seal(Within(connection), KEYS, batch=rng.randrange(20, 400)).seal().note
                assert note is not None
                held.append(note)
                at += step
            result = Verification(Within(connection), KEYS).verify(rng.choice(held))
            assert (found(result), result.events, result.signed) == ([], len(positions), True), case
            connection.rollback()


# -- who rewrites the seal as well ---------------------------------------------------------------------------------


def test_events_and_tiles_that_were_rewritten_are_bounded_by_the_last_checkpoint_that_fits(log: Log) -> None:
    def rewrite(connection: Connection) -> None:
        at = log.positions[400]
        connection.execute("UPDATE stored_events SET topic = 'x' WHERE notification_id = %s", (at,))
        forge(connection, log.positions)

    [rewritten] = verified(log, rewrite).findings
    assert rewritten.kind == "rewritten"
    assert (rewritten.first, rewritten.last) == (log.positions[299] + 1, log.positions[511])
    assert "512 events" in rewritten.explanation


def test_an_event_and_its_hash_alone_that_were_changed_are_bounded_by_their_tile(log: Log) -> None:
    def rewrite(connection: Connection) -> None:
        at = log.positions[400]
        connection.execute("UPDATE stored_events SET topic = 'x' WHERE notification_id = %s", (at,))
        hash_, _ = hashed(Within(connection), at - 1, at)
        connection.execute(
            "UPDATE seal_tiles SET hashes = overlay(hashes PLACING %s FROM %s) WHERE level = 0 AND number = 1",
            (hash_, (400 - 256) * 32 + 1),
        )

    bounds = (log.positions[256], log.positions[511])
    assert ("seal", *bounds) in found(verified(log, rewrite))


@pytest.mark.parametrize(
    ("number", "first", "last"), [(0, 0, 255), (1, 256, 511), (2, 512, EVENTS - 1)], ids=["first", "middle", "last"]
)
@pytest.mark.parametrize("way", ["changed", "deleted", "shifted"])
def test_a_tile_that_was_changed_is_not_taken_for_the_events(
    log: Log, number: int, first: int, last: int, way: str
) -> None:
    statement = {
        "changed": "UPDATE seal_tiles SET hashes = set_byte(hashes, 100, 255 - get_byte(hashes, 100))",
        "deleted": "DELETE FROM seal_tiles",
        "shifted": "UPDATE seal_tiles SET last_position = last_position - 1, positions = NULL",
    }[way]
    tamper = f"{statement} WHERE level = 0 AND number = {number}".encode()
    result = verified(log, lambda connection: connection.execute(tamper))
    assert result.findings
    assert {finding.kind for finding in result.findings} <= (
        {"seal"} if way != "shifted" else {"seal", "inserted", "deleted", "changed"}
    )
    if way != "shifted":
        assert found(result) == [("seal", log.positions[first], log.positions[last])]


def test_an_upper_tile_that_was_changed_is_found(log: Log) -> None:
    tamper = b"UPDATE seal_tiles SET hashes = set_byte(hashes, 40, 255 - get_byte(hashes, 40)) WHERE level = 1"
    result = verified(log, lambda connection: connection.execute(tamper))
    assert found(result) == [("seal", log.positions[256], log.positions[511])]


@pytest.mark.parametrize(
    "change", ["note = replace(note, 'position ', 'position 1')", "note = replace(note, '300', '301')", "note = 'x'"]
)
def test_a_checkpoint_that_was_changed_is_found(log: Log, change: str) -> None:
    tamper = f"UPDATE seal_checkpoints SET {change} WHERE number = 2".encode()
    result = verified(log, lambda connection: connection.execute(tamper))
    assert [finding.kind for finding in result.findings] == ["checkpoint"]


def test_signatures_that_were_taken_away_are_found(log: Log) -> None:
    tamper = b"UPDATE seal_checkpoints SET note = split_part(note, chr(8212), 1)"
    result = verified(log, lambda connection: connection.execute(tamper))
    assert ([finding.kind for finding in result.findings], result.signed) == (["checkpoint"], False)


def test_a_log_that_was_cut_off_with_its_seal_is_whole_but_for_the_checkpoint_outside(log: Log) -> None:
    def cut(connection: Connection) -> None:
        connection.execute("DELETE FROM stored_events WHERE notification_id > %s", (log.positions[299],))
        forge(connection, log.positions[:300])

    assert verified(log, cut).findings == []
    assert found(verified(log, cut, outside=log.held)) == [("cut off", log.positions[299] + 1, log.positions[-1])]


def test_a_log_that_is_all_gone_is_cut_off_from_its_first_event(log: Log) -> None:
    empty = lambda connection: connection.execute("TRUNCATE stored_events, seal_tiles, seal_checkpoints")  # noqa: E731
    assert found(verified(log, empty, outside=log.held)) == [("cut off", 1, log.positions[-1])]


def test_events_that_are_gone_while_their_tiles_are_there_are_named_one_by_one(log: Log) -> None:
    tamper = b"DELETE FROM stored_events WHERE notification_id > %d" % log.positions[-4]
    result = verified(log, lambda connection: connection.execute(tamper))
    assert {at for _, first, last in found(result) for at in range(first, last + 1)} >= set(log.positions[-3:])
    assert {kind for kind, _, _ in found(result)} == {"deleted"}


def test_of_very_many_findings_the_first_are_named_and_the_others_counted(log: Log) -> None:
    def riddle(connection: Connection) -> None:
        append(connection, range(10_000, 10_000 + 2 * KEPT + 10, 2))
        Seal(Within(connection), KEYS).seal()
        connection.execute("UPDATE stored_events SET topic = 'x' WHERE notification_id >= 10000")

    result = verified(log, riddle)
    assert len(result.findings) == KEPT
    assert result.more == 5
