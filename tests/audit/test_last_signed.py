"""Is the key talked into signing what does not continue the checkpoint that it signed here last?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from adapters.postgres.migrations import migrate
from adapters.postgres.seal_store import SealStore
from audit.checkpoints import Keyring, Note, Signer
from audit.last_signed import LastSigned
from audit.seal import Seal
from domain.errors import Tampered, UsageError
from tests.audit.sealing import KEYS, ORIGIN, SIGNER, Connection, append


@pytest.fixture
def url(database: str) -> str:
    migrate(database)
    return database


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with psycopg.connect(url, autocommit=True) as opened:
        append(opened, range(1, 601))
        yield opened


@pytest.fixture
def last(tmp_path: Path) -> LastSigned:
    return LastSigned(tmp_path / "state" / "seal.checkpoint")


def seal(url: str, last: LastSigned, keys: Keyring = KEYS) -> Note:
    with SealStore(url) as store:
        note = Seal(store, keys, last=last).seal().note
    assert note is not None
    return note


def throw_the_seal_away(connection: Connection) -> None:
    connection.execute("TRUNCATE seal_tiles, seal_checkpoints")


def test_the_newest_checkpoint_is_kept_and_continued(url: str, connection: Connection, last: LastSigned) -> None:
    assert seal(url, last) == last.read()
    append(connection, range(601, 900))
    assert seal(url, last) == last.read()
    assert seal(url, last).checkpoint.size == 899


def test_an_event_that_was_changed_under_a_seal_that_was_thrown_away_is_not_signed(
    url: str, connection: Connection, last: LastSigned
) -> None:
    held = seal(url, last)
    connection.execute("UPDATE stored_events SET topic = 'x' WHERE notification_id = 300")
    throw_the_seal_away(connection)
    with pytest.raises(Tampered, match="does not continue the checkpoint of 600"):
        seal(url, last)
    seal(url, LastSigned())  # by somebody who keeps nothing
    append(connection, range(601, 700))
    with pytest.raises(Tampered, match="does not continue the checkpoint of 600"):
        seal(url, last)
    assert last.read() == held


def test_a_log_that_was_cut_off_with_its_seal_is_not_signed(url: str, connection: Connection, last: LastSigned) -> None:
    seal(url, LastSigned())
    append(connection, range(601, 700))
    seal(url, last)
    connection.execute("DELETE FROM stored_events WHERE notification_id > 600")
    throw_the_seal_away(connection)
    connection.execute("UPDATE high_water_mark SET position = 600")
    with pytest.raises(Tampered, match="if the database was restored from a backup, move that file away"):
        seal(url, last)
    assert last.path is not None
    last.path.unlink()
    assert seal(url, last).checkpoint.size == 600


def test_a_log_that_lost_only_its_seal_is_not_signed_before_the_file_is_removed(
    url: str, connection: Connection, last: LastSigned
) -> None:
    """Whoever signs cannot know yet that the events are what they were."""
    seal(url, last)
    throw_the_seal_away(connection)
    with pytest.raises(Tampered, match="the seal of 0 events"):
        seal(url, last)


def test_a_checkpoint_that_was_signed_by_a_new_key_is_kept(url: str, connection: Connection, last: LastSigned) -> None:
    seal(url, last)
    newer = Signer.generate(ORIGIN)
    again = seal(url, last, Keyring(ORIGIN, newer, (newer.verifier, SIGNER.verifier)))
    assert last.read() == again


def test_a_file_that_is_no_checkpoint_stops_the_sealing_and_is_named(
    url: str, connection: Connection, last: LastSigned
) -> None:
    seal(url, last)
    assert last.path is not None
    last.path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"seal\.checkpoint is no checkpoint any more"):
        seal(url, last)


def test_a_place_where_nothing_can_be_written_is_told_after_the_seal(url: str, connection: Connection) -> None:
    with pytest.raises(UsageError, match="TENANTRY_SEAL_CHECKPOINT_FILE"):
        seal(url, LastSigned(Path("/proc/nowhere/seal.checkpoint")))
    assert seal(url, LastSigned()).checkpoint.size == 600


def test_who_stole_an_older_key_cannot_have_a_rewritten_log_signed_by_the_newer_one(
    url: str, connection: Connection, last: LastSigned
) -> None:
    newer = Signer.generate(ORIGIN)
    seal(url, last)
    connection.execute("UPDATE stored_events SET topic = 'x' WHERE notification_id = 300")
    throw_the_seal_away(connection)
    seal(url, LastSigned())  # by the older key, which is the thief's as well
    with pytest.raises(Tampered, match="does not continue"):
        seal(url, last, Keyring(ORIGIN, newer, (newer.verifier, SIGNER.verifier)))
