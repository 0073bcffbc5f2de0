"""Is everything up to the mark sealed once, whatever happens meanwhile, and can each event be proved?"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from hashlib import sha256
from uuid import uuid4

import psycopg
import pytest

from adapters.postgres.migrations import migrate
from adapters.postgres.seal_store import SealStore
from audit.checkpoints import Keyring, Signer
from audit.merkle import root_of, verify_consistency, verify_inclusion
from audit.seal import Seal
from domain.errors import Tampered, Unavailable, UsageError
from tests.audit.sealing import KEYS, NO_KEYS, ORIGIN, SIGNER, Connection, append, found, seal, verify, with_gaps


@pytest.fixture
def url(database: str) -> str:
    migrate(database)
    return database


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with psycopg.connect(url, autocommit=True) as opened:
        yield opened


def root_by_hand(connection: Connection) -> bytes:
    """From the columns, put together as the decision record writes a leaf down."""
    rows = connection.execute(
        "SELECT notification_id, originator_id, originator_version, topic, state FROM stored_events ORDER BY 1"
    ).fetchall()
    hashes = []
    for position, stream, version, topic, state in rows:
        columns = [struct.pack(">q", position), stream.encode(), struct.pack(">q", version), topic.encode(), state]
        leaf = b"\x00\x05" + b"".join(len(column).to_bytes(4, "big") + column for column in columns)
        hashes.append(sha256(b"\x00" + leaf).digest())
    return root_of(b"".join(hashes))


# -- sealing -------------------------------------------------------------------------------------------------------


def test_an_empty_log_has_no_checkpoint(url: str) -> None:
    assert seal(url) is None
    with pytest.raises(UsageError, match="nothing is sealed yet"):
        verify(url)


@pytest.mark.parametrize("batch", [1, 100, 256, 1_000])
def test_the_root_is_that_of_the_stored_rows_whatever_the_batches(url: str, connection: Connection, batch: int) -> None:
    append(connection, with_gaps(600 if batch > 1 else 20, batch))
    note = seal(url, batch=batch)
    assert note is not None
    assert note.checkpoint.root == root_by_hand(connection)
    assert KEYS.standing(note) == "signed"
    result = verify(url)
    assert (found(result), result.events, result.signed) == ([], note.checkpoint.size, True)


def test_a_seal_goes_on_where_it_stopped_and_not_past_the_mark(url: str, connection: Connection) -> None:
    append(connection, range(1, 301))
    first = seal(url)
    append(connection, range(302, 701))
    connection.execute("UPDATE high_water_mark SET position = 600")
    second = seal(url)
    assert first is not None
    assert second is not None
    assert (first.checkpoint.size, second.checkpoint.size, second.checkpoint.position) == (300, 599, 600)
    assert verify(url).not_sealed == 0
    assert verify(url, outside=first).findings == []
    connection.execute("UPDATE high_water_mark SET position = 700")
    assert verify(url).not_sealed == 100
    assert seal(url) == seal(url)
    assert connection.execute("SELECT count(*) FROM seal_checkpoints").fetchone() == (3,)


def test_seals_at_the_same_time_make_one_tree(url: str, connection: Connection) -> None:
    append(connection, range(1, 2_001))
    threads = [threading.Thread(target=seal, args=(url,), kwargs={"batch": 97}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    note = seal(url)
    assert note is not None
    assert (note.checkpoint.size, note.checkpoint.root) == (2_000, root_by_hand(connection))
    assert verify(url).findings == []


def test_a_seal_that_is_killed_in_a_batch_leaves_the_batches_before(url: str, connection: Connection) -> None:
    append(connection, range(1, 1_001))

    class Killed(SealStore):
        batches = 0

        def write_note(self, note: str) -> None:
            super().write_note(note)
            self.batches += 1
            if self.batches == 3:
                raise KeyboardInterrupt

    with Killed(url) as store, pytest.raises(KeyboardInterrupt):
        Seal(store, KEYS, batch=200).seal()
    half = verify(url)
    assert (half.events, half.findings, half.not_sealed) == (400, [], 600)
    note = seal(url, batch=300)
    assert note is not None
    assert note.checkpoint.root == root_by_hand(connection)
    assert verify(url).findings == []


def test_a_database_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="check TENANTRY_DATABASE_URL"):
        seal("postgresql://nobody@127.0.0.1:1/nothing")


# -- keys ----------------------------------------------------------------------------------------------------------


def test_without_a_key_the_log_is_sealed_and_not_signed_until_there_is_one(url: str, connection: Connection) -> None:
    append(connection, range(1, 11))
    note = seal(url, NO_KEYS)
    assert note is not None
    assert note.signatures == ()
    assert (verify(url, NO_KEYS).signed, verify(url, NO_KEYS).findings) == (False, [])
    assert [finding.kind for finding in verify(url).findings] == ["checkpoint"]
    signed = seal(url)
    assert signed is not None
    assert KEYS.standing(signed) == "signed"
    assert verify(url).findings == []


def test_after_a_rotation_the_newest_checkpoint_is_signed_by_the_new_key(url: str, connection: Connection) -> None:
    append(connection, range(1, 11))
    seal(url)
    new = Signer.generate(ORIGIN)
    rotated = Keyring(ORIGIN, new, (new.verifier, SIGNER.verifier))
    note = seal(url, rotated)
    assert note is not None
    assert rotated.signed_by_the_newest(note)
    assert verify(url, rotated).findings == []
    stranger = Keyring(ORIGIN, new, (new.verifier,))
    assert [finding.kind for finding in verify(url, stranger).findings] == ["checkpoint"]
    with pytest.raises(UsageError, match="not validly by a seal key"):
        verify(url, KEYS, outside=note)


def test_a_seal_whose_last_key_is_missing_says_so(url: str, connection: Connection) -> None:
    append(connection, range(1, 11))
    seal(url)
    other = Signer.generate(ORIGIN)
    with pytest.raises(UsageError, match=r"not one of the seal keys"):
        seal(url, Keyring(ORIGIN, other, (other.verifier,)))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE seal_tiles SET hashes = set_byte(hashes, 4, get_byte(hashes, 4) # 1)",
        "DELETE FROM seal_tiles",
        "DELETE FROM seal_checkpoints",
        "UPDATE seal_checkpoints SET note = replace(note, 'position 300', 'position 299')",
        "UPDATE seal_checkpoints SET note = 'x'",
    ],
)
def test_nothing_is_signed_on_top_of_a_seal_that_was_changed(url: str, connection: Connection, change: str) -> None:
    append(connection, range(1, 301))
    seal(url)
    connection.execute(change.encode())
    append(connection, range(301, 311))
    with pytest.raises(Tampered, match="tenantry audit verify"):
        seal(url)


# -- proofs --------------------------------------------------------------------------------------------------------


def test_every_event_is_proved_by_its_position(url: str, connection: Connection) -> None:
    positions = with_gaps(700, 5)
    append(connection, positions)
    seal(url)
    with SealStore(url) as store:
        sealed = Seal(store, KEYS)
        for position in (1, *positions[254:258], *positions[-2:]):
            proof = sealed.prove(position)
            checkpoint = proof.note.checkpoint
            assert positions[proof.index] == position == proof.position
            assert sha256(b"\x00" + proof.leaf).digest() == proof.leaf_hash
            assert verify_inclusion(proof.leaf_hash, proof.index, checkpoint.size, proof.path, checkpoint.root)


def test_an_event_is_proved_by_its_id(url: str, connection: Connection) -> None:
    append(connection, range(1, 20))
    id_ = uuid4()
    connection.execute(
        "UPDATE stored_events SET state = %s WHERE notification_id = 7", (b'{"v":1,"id":"%s"}' % str(id_).encode(),)
    )
    seal(url)
    with SealStore(url) as store:
        assert Seal(store, KEYS).prove(id_).position == 7
        with pytest.raises(UsageError, match="there is no event"):
            Seal(store, KEYS).prove(uuid4())


def test_what_cannot_be_proved_is_told_apart(url: str, connection: Connection) -> None:
    append(connection, [1, 2, 4, 5, 6])
    with SealStore(url) as store, pytest.raises(UsageError, match="nothing is sealed"):
        Seal(store, KEYS).prove(1)
    seal(url)
    append(connection, [7])
    connection.execute("UPDATE stored_events SET topic = 'x' WHERE notification_id = 2")
    connection.execute("DELETE FROM stored_events WHERE notification_id = 5")
    with SealStore(url) as store:
        sealed = Seal(store, KEYS)
        for position, error, what in (
            (2, Tampered, "position 2 was changed"),
            (3, UsageError, "there is no event 3"),
            (5, Tampered, "position 5 was deleted"),
            (7, UsageError, "position 7 is not sealed yet"),
        ):
            with pytest.raises(error, match=what):
                sealed.prove(position)
        append(connection, [3])
        with pytest.raises(Tampered, match="position 3 was inserted"):
            sealed.prove(3)
        assert sealed.prove(4).index == 2


def test_a_log_that_grew_is_proved_to_have_only_grown(url: str, connection: Connection) -> None:
    append(connection, range(1, 1_001))
    seal(url)
    with SealStore(url) as store:
        sealed = Seal(store, KEYS)
        for old, new in ((1, 1_000), (256, 257), (255, 512), (999, 1_000), (1_000, 1_000)):
            proof = sealed.consistency(old, new)
            assert verify_consistency(old, new, proof.path, proof.old_root, proof.new_root)
        for old, new in ((0, 5), (6, 5), (5, 1_001)):
            with pytest.raises(UsageError, match="from 1 to 1000"):
                sealed.consistency(old, new)
    connection.execute("UPDATE seal_tiles SET hashes = set_byte(hashes, 40, 1) WHERE level = 0 AND number = 0")
    with SealStore(url) as store, pytest.raises(Tampered, match="does not lead"):
        Seal(store, KEYS).consistency(100, 1_000)
