"""What if somebody leaves the events alone and tampers with what lies beside them, or hides an event from readers?

Each is done to a real table in a transaction that is taken back, as in test_tampering.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.seal_store import COLUMNS
from audit.checkpoints import Checkpoint
from domain.errors import Unavailable
from tests.audit.sealing import KEYS, Connection, Log, forge, found, sealed_log, verified


@pytest.fixture(scope="module")
def log(postgres: EmbeddedPostgres) -> Iterator[Log]:
    yield from sealed_log(postgres, "test_tampering_seal")


def insert_at(connection: Connection, position: str, copied: int) -> None:
    connection.execute(
        f"INSERT INTO stored_events ({COLUMNS}) SELECT {position}, originator_id, originator_version + 1000000, topic,"
        f" state FROM stored_events WHERE notification_id = {copied}".encode()
    )


# -- events that no reader in the order of positions would see -----------------------------------------------------


def test_an_event_at_the_lowest_of_all_positions_is_found(log: Log) -> None:
    result = verified(log, lambda connection: insert_at(connection, "'-9223372036854775808'", log.positions[5]))
    assert found(result) == [("inserted", -(2**63), -(2**63))]


def test_an_event_without_a_position_is_found(log: Log) -> None:
    def tamper(connection: Connection) -> None:
        connection.execute("ALTER TABLE stored_events ALTER notification_id DROP NOT NULL")
        insert_at(connection, "NULL", log.positions[5])

    assert found(verified(log, tamper)) == [("inserted", 0, 0)]


@pytest.mark.parametrize("where", ["stored_events", "beside"])
def test_a_second_event_at_one_position_is_found(log: Log, where: str) -> None:
    at = log.positions[400]

    def tamper(connection: Connection) -> None:
        if where == "beside":
            connection.execute("CREATE TABLE beside () INHERITS (stored_events)")
        else:
            connection.execute("DROP INDEX stored_events_notification_id_idx")
        connection.execute(
            f"INSERT INTO {where} ({COLUMNS}) SELECT notification_id, originator_id, 9, topic, state FROM stored_events"
            f" WHERE notification_id = {at}".encode()
        )

    assert found(verified(log, tamper)) == [("changed", at, at)]


# -- checkpoints that are gone -------------------------------------------------------------------------------------


def test_a_log_that_was_rewritten_with_its_seal_and_has_lost_its_checkpoints_is_found(log: Log) -> None:
    def tamper(connection: Connection) -> None:
        connection.execute("UPDATE stored_events SET topic = 'x' WHERE notification_id = %s", (log.positions[400],))
        forge(connection, log.positions)
        connection.execute("DELETE FROM seal_checkpoints")

    result = verified(log, tamper)
    assert (found(result), result.signed) == ([("checkpoint", 1, log.positions[-1])], False)


def test_the_newest_checkpoint_that_is_gone_accuses_no_event(log: Log) -> None:
    result = verified(log, lambda connection: connection.execute("DELETE FROM seal_checkpoints WHERE number = 4"))
    assert found(result) == [("checkpoint", log.positions[511] + 1, log.positions[-1])]
    assert result.events == len(log.positions)


def test_a_checkpoint_outside_that_does_not_fit_is_not_bounded_by_what_may_have_been_sealed_anew(log: Log) -> None:
    held = log.held.checkpoint
    other = KEYS.note(Checkpoint(held.origin, 600, bytes(32), log.positions[599]))
    [rewritten] = verified(log, lambda _: None, other).findings
    assert (rewritten.kind, rewritten.first, rewritten.last) == ("rewritten", 0, log.positions[599])
    assert "of another log" in rewritten.explanation


# -- tiles ---------------------------------------------------------------------------------------------------------


def test_tiles_that_were_swapped_accuse_no_event(log: Log) -> None:
    def tamper(connection: Connection) -> None:
        for old, new in ((0, -1), (1, 0), (-1, 1)):
            connection.execute("UPDATE seal_tiles SET number = %s WHERE level = 0 AND number = %s", (new, old))

    assert found(verified(log, tamper)) == [("seal", log.positions[0], log.positions[511])]


@pytest.mark.parametrize(
    "change",
    [
        "hashes = hashes || '\\x00'::bytea",
        "hashes = ''",
        "positions = substr(positions, 1, 13)",
        "last_position = NULL",
        "last_position = 9223372036854775807",
    ],
)
def test_a_tile_that_is_no_tile_any_more_is_found_and_accuses_no_event(log: Log, change: str) -> None:
    tamper = f"UPDATE seal_tiles SET {change} WHERE level = 0 AND number = 1".encode()
    result = verified(log, lambda connection: connection.execute(tamper))
    assert found(result) == [("seal", log.positions[256], log.positions[511])]


@pytest.mark.parametrize(("level", "number"), [(0, 50), (0, -1), (1, 1), (3, 0), (9, 0)])
def test_a_tile_that_is_too_many_is_named(log: Log, level: int, number: int) -> None:
    """Sealing would stop at it, and whoever is told to verify must be told why."""
    tamper = (
        "INSERT INTO seal_tiles (level, number, hashes, last_position, positions)"
        f" SELECT {level}, {number}, hashes, last_position, positions FROM seal_tiles WHERE level = 0 AND number = 1"
    ).encode()
    [finding] = verified(log, lambda connection: connection.execute(tamper)).findings
    assert (finding.kind, finding.explanation) == (
        "seal",
        f"tile {number} of level {level} is no part of the seal: delete it",
    )


def test_a_mark_that_is_gone_is_told_with_the_remedy(log: Log) -> None:
    with pytest.raises(Unavailable, match="INSERT INTO high_water_mark"):
        verified(log, lambda connection: connection.execute("DELETE FROM high_water_mark"))
