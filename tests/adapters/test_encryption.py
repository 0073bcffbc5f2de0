"""Do the data keys hold on PostgreSQL: between processes, under a wrong master key, in bulk?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.encryption import CACHE_SECONDS, MasterKey, PostgresEncryptionKeys
from adapters.postgres.migrations import migrate
from domain.errors import TenantryError, Unavailable, UsageError
from tests.real_parts import make_database

MASTER = MasterKey(b"k" * 32)
PLACE = "tenant:t-1/1/administrator/email"
Process = Callable[[], PostgresEncryptionKeys]


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class CountingPool(ConnectionPool[psycopg.Connection[Any]]):
    """Counts how often a connection was asked for."""

    taken = 0

    def getconn(self, timeout: float | None = None) -> psycopg.Connection[Any]:
        self.taken += 1
        return super().getconn(timeout)


@pytest.fixture(scope="module")
def migrated(postgres: EmbeddedPostgres) -> Iterator[str]:
    """One database for all tests of this file: to migrate one costs more than any of them."""
    name = f"test_{uuid4().hex}"
    make_database(postgres, name)
    migrate(postgres.url(name))
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def pool(migrated: str) -> Iterator[CountingPool]:
    with psycopg.connect(migrated) as connection:
        connection.execute("TRUNCATE data_keys")
    with CountingPool(migrated, min_size=1, max_size=8) as pool:
        yield pool


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def process(pool: CountingPool, clock: Clock) -> Process:
    """Each call is another process: a cache of its own on the same database."""
    return lambda: PostgresEncryptionKeys(pool, MASTER, monotonic=clock)


def rows(pool: CountingPool) -> list[tuple[Any, ...]]:
    with pool.connection() as connection:
        return connection.execute("SELECT subject, key_id, wrapped, forgotten_at FROM data_keys").fetchall()


def test_another_process_reads_what_one_has_sealed(process: Process) -> None:
    assert process().decrypt(process().encrypt("customer:c-1", b"plain", PLACE), PLACE) == b"plain"


def test_many_processes_that_seal_for_a_new_subject_at_once_make_one_key(pool: CountingPool, process: Process) -> None:
    start = Barrier(6)

    def encrypt(keys: PostgresEncryptionKeys) -> str:
        start.wait()
        return keys.encrypt("customer:c-1", b"plain", PLACE)

    with ThreadPoolExecutor(6) as threads:
        encrypted = list(threads.map(encrypt, [process() for _ in range(6)]))
    assert len(rows(pool)) == 1
    assert len({text.split(".")[1] for text in encrypted}) == 1


def test_batches_of_the_same_new_subjects_in_any_order_do_not_wait_for_each_other(
    pool: CountingPool, process: Process
) -> None:
    subjects = [f"customer:{number}" for number in range(300)]
    with ThreadPoolExecutor(4) as threads:
        orders = [subjects, subjects[::-1], subjects[150:] + subjects[:150], subjects]
        list(threads.map(lambda order: process().prefetch(subjects=order), orders))
    assert len(rows(pool)) == 300


def test_forgetting_empties_the_key_and_leaves_its_row(pool: CountingPool, process: Process) -> None:
    keys = process()
    keys.encrypt("customer:c-1", b"plain", PLACE)
    keys.forget("customer:c-1")
    ((subject, _, wrapped, forgotten_at),) = rows(pool)
    assert (subject, wrapped) == ("customer:c-1", None)
    assert forgotten_at is not None


def test_another_process_forgets_when_its_cache_is_old(process: Process, clock: Clock) -> None:
    here, there = process(), process()
    encrypted = here.encrypt("customer:c-1", b"plain", PLACE)
    assert there.decrypt(encrypted, PLACE) == b"plain"
    here.forget("customer:c-1")
    clock.now += CACHE_SECONDS
    assert there.decrypt(encrypted, PLACE) is None
    assert here.decrypt(there.encrypt("customer:c-1", b"again", PLACE), PLACE) == b"again"


def test_a_load_that_was_under_way_does_not_bring_a_forgotten_key_back(pool: CountingPool) -> None:
    class Overtaken(PostgresEncryptionKeys):
        """Somebody forgets the subject between our query and our cache."""

        def _hold(self, rows: Any, forgettings: int) -> Any:
            self.forget("customer:c-1")
            return super()._hold(rows, forgettings)

    encrypted = PostgresEncryptionKeys(pool, MASTER).encrypt("customer:c-1", b"plain", PLACE)
    keys = Overtaken(pool, MASTER)
    keys.decrypt(encrypted, PLACE)
    assert keys.decrypt(encrypted, PLACE) is None


def test_keys_are_loaded_once(pool: CountingPool, process: Process) -> None:
    keys = process()
    encrypted = keys.encrypt("customer:c-1", b"plain", PLACE)
    taken = pool.taken
    for _ in range(50):
        assert keys.decrypt(encrypted, PLACE) == b"plain"
        keys.encrypt("customer:c-1", b"plain", PLACE)
    assert pool.taken == taken


def test_a_batch_is_prefetched_with_one_query_for_each_direction(pool: CountingPool, process: Process) -> None:
    subjects = [f"customer:{number}" for number in range(200)]
    one = process()
    one.prefetch(subjects=subjects)
    encrypted = [one.encrypt(subject, subject.encode(), PLACE) for subject in subjects]
    assert pool.taken == 1
    other = process()
    other.prefetch(encrypted=[*encrypted, "v1.damaged", "v1.\0.x", ""])
    assert [other.decrypt(text, PLACE) for text in encrypted] == [subject.encode() for subject in subjects]
    assert pool.taken == 2


def test_forgotten_keys_are_prefetched_too(pool: CountingPool, process: Process) -> None:
    one = process()
    encrypted = one.encrypt("customer:c-1", b"plain", PLACE)
    one.forget("customer:c-1")
    other = process()
    other.prefetch(encrypted=[encrypted])
    taken = pool.taken
    assert other.decrypt(encrypted, PLACE) is None
    assert pool.taken == taken


def test_the_cache_is_bounded_and_correct_beyond_its_bound(pool: CountingPool) -> None:
    keys = PostgresEncryptionKeys(pool, MASTER, cache_keys=3)
    subjects = [f"customer:{number}" for number in range(10)]
    encrypted = {subject: keys.encrypt(subject, subject.encode(), PLACE) for subject in subjects}
    assert {subject: keys.decrypt(text, PLACE) for subject, text in encrypted.items()} == {
        subject: subject.encode() for subject in subjects
    }
    assert keys.encrypt(subjects[0], b"", PLACE).split(".")[1] == encrypted[subjects[0]].split(".")[1]
    assert len(rows(pool)) == 10


def test_another_master_key_is_found_before_it_wraps_anything(pool: CountingPool, process: Process) -> None:
    stranger = PostgresEncryptionKeys(pool, MasterKey(b"x" * 32))
    stranger.verify()
    encrypted = process().encrypt("customer:c-1", b"plain", PLACE)
    process().verify()
    for act in (
        stranger.verify,
        lambda: stranger.decrypt(encrypted, PLACE),
        lambda: stranger.encrypt("customer:c-1", b"plain", PLACE),
    ):
        with pytest.raises(UsageError, match="the master key does not fit the data keys"):
            act()


def test_a_wrapped_key_cannot_be_moved_to_another_subject(pool: CountingPool, process: Process) -> None:
    process().prefetch(subjects=["customer:c-1"])
    with pool.connection() as connection:
        connection.execute("UPDATE data_keys SET subject = 'customer:c-2'")
    with pytest.raises(UsageError):
        process().encrypt("customer:c-2", b"plain", PLACE)


def test_a_sealed_text_cannot_be_given_to_another_key(process: Process) -> None:
    keys = process()
    _, key_id, _ = keys.encrypt("customer:c-2", b"plain", PLACE).split(".")
    _, _, content = keys.encrypt("customer:c-1", b"plain", PLACE).split(".")
    with pytest.raises(TenantryError, match="was changed or moved"):
        keys.decrypt(f"v1.{key_id}.{content}", PLACE)


def test_a_lost_key_is_told_from_a_forgotten_one(pool: CountingPool, process: Process) -> None:
    encrypted = process().encrypt("customer:c-1", b"plain", PLACE)
    with pool.connection() as connection:
        connection.execute("DELETE FROM data_keys")
    with pytest.raises(TenantryError, match="restore the table from a backup"):
        process().decrypt(encrypted, PLACE)


def test_every_seal_takes_a_fresh_nonce(pool: CountingPool) -> None:
    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return bytes([len(asked)]) * count

    keys = PostgresEncryptionKeys(pool, MASTER, random_bytes=random_bytes)
    encrypted = [keys.encrypt("customer:c-1", b"plain", PLACE) for _ in range(2)]
    assert asked == [16, 32, 12, 12, 12]
    assert encrypted[0] != encrypted[1]


def test_texts_of_the_first_form_stay_readable_for_ever(pool: CountingPool) -> None:
    """Written by the first version with master key `k` x 32: never change these."""
    key_id = "AQEBAQEBAQEBAQEBAQEBAQ"
    wrapped = bytes.fromhex(GOLDEN_WRAPPED)
    with pool.connection() as connection:
        connection.execute(
            "INSERT INTO data_keys (subject, key_id, wrapped) VALUES ('customer:c-1', %s, %s)",
            [key_id, wrapped],
        )
    assert PostgresEncryptionKeys(pool, MASTER).decrypt(GOLDEN_SEALED, PLACE) == b"plain"


GOLDEN_WRAPPED = (
    "02020202020202020202020293c96c7f2adefddb923164d6071a343be6df"
    "8bf4be2693c43e05f065fd8b575ad1fca4fd96da9925cf70a15e75d3f60a"
)
GOLDEN_SEALED = "v1.AQEBAQEBAQEBAQEBAQEBAQ.AwMDAwMDAwMDAwMDniddv2XVX8uUvGXzNlQqgNkFQqaf"


def test_a_database_that_is_not_there_is_unavailable() -> None:
    with ConnectionPool("host=127.0.0.1 port=1 connect_timeout=1", min_size=0, max_size=1, open=False) as pool:
        pool.timeout = 0.2
        with pytest.raises(Unavailable, match="control database"):
            PostgresEncryptionKeys(pool, MASTER).encrypt("customer:c-1", b"plain", PLACE)


@pytest.mark.parametrize("secret", [b"", b"short", b"k" * 33])
def test_a_master_key_of_another_length_is_refused(secret: bytes) -> None:
    with pytest.raises(UsageError, match="32 random bytes"):
        MasterKey(secret)


def test_a_master_key_does_not_show_its_secret() -> None:
    assert "kkk" not in repr(MASTER)
