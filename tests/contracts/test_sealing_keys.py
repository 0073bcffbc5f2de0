"""What does everybody who seals personal fields keep to?"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from psycopg_pool import ConnectionPool

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.encryption import MasterKey, PostgresEncryptionKeys
from adapters.postgres.migrations import migrate
from application.ports.encryption import EncryptionKeys
from domain.errors import TenantryError
from tests.fakes.sealing import InMemorySealingKeys
from tests.real_parts import make_database

PLACE = "customer:c-1/3/administrators/0/email"
PLAIN = b"ada@example.org"


@pytest.fixture(scope="module")
def migrated(postgres: EmbeddedPostgres) -> Iterator[str]:
    """One database for all tests of this file: to migrate one costs more than any of them."""
    name = f"test_{uuid4().hex}"
    make_database(postgres, name)
    migrate(postgres.url(name))
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(params=["in memory", "on PostgreSQL"])
def keys(request: pytest.FixtureRequest) -> Iterator[EncryptionKeys]:
    if request.param == "in memory":
        yield InMemorySealingKeys()
        return
    with ConnectionPool(request.getfixturevalue("migrated"), min_size=1, max_size=2) as pool:
        with pool.connection() as connection:
            connection.execute("TRUNCATE data_keys")
        yield PostgresEncryptionKeys(pool, MasterKey(b"k" * 32))


@pytest.mark.parametrize("plain", [b"", PLAIN, bytes(range(256)), b"x" * 1_500_000])
def test_what_was_sealed_can_be_unsealed(keys: EncryptionKeys, plain: bytes) -> None:
    assert keys.decrypt(keys.encrypt("customer:c-1", plain, PLACE), PLACE) == plain


def test_a_sealed_text_is_marked_and_never_holds_the_plain_text(keys: EncryptionKeys) -> None:
    encrypted = keys.encrypt("customer:c-1", PLAIN, PLACE)
    assert encrypted.startswith("v1.")
    assert encrypted.isascii()
    assert encrypted.isprintable()
    assert "ada@" not in encrypted
    assert "customer:" not in encrypted


def test_the_same_text_is_sealed_differently_each_time(keys: EncryptionKeys) -> None:
    assert len({keys.encrypt("customer:c-1", PLAIN, PLACE) for _ in range(20)}) == 20


def test_a_sealed_text_cannot_be_moved_to_another_place(keys: EncryptionKeys) -> None:
    encrypted = keys.encrypt("customer:c-1", PLAIN, PLACE)
    with pytest.raises(TenantryError, match="customer:c-1/4"):
        keys.decrypt(encrypted, "customer:c-1/4/administrators/0/email")


def test_a_change_of_any_character_is_found(keys: EncryptionKeys) -> None:
    encrypted = keys.encrypt("customer:c-1", PLAIN, PLACE)
    for index, character in enumerate(encrypted):
        for other in {"A", "B", ".", "=", "\n", "\0", "é"} - {character}:
            with pytest.raises(TenantryError):
                keys.decrypt(encrypted[:index] + other + encrypted[index + 1 :], PLACE)


def test_a_cut_or_longer_text_is_found(keys: EncryptionKeys) -> None:
    encrypted = keys.encrypt("customer:c-1", PLAIN, PLACE)
    for changed in (
        "",
        "v1",
        "v1.",
        "v1..",
        "plain text",
        encrypted[:-1],
        encrypted[:30],
        encrypted + "A",
        encrypted + "=",
        f" {encrypted}",
    ):
        with pytest.raises(TenantryError):
            keys.decrypt(changed, PLACE)


def test_what_was_sealed_for_a_forgotten_subject_reads_as_none(keys: EncryptionKeys) -> None:
    encrypted = [keys.encrypt("customer:c-1", PLAIN, PLACE) for _ in range(2)]
    keys.forget("customer:c-1")
    assert [keys.decrypt(text, PLACE) for text in encrypted] == [None, None]
    assert keys.decrypt(encrypted[0], PLACE) is None, "and stays forgotten"


def test_forgetting_one_subject_leaves_the_others(keys: EncryptionKeys) -> None:
    encrypted = keys.encrypt("customer:c-2", PLAIN, PLACE)
    keys.encrypt("customer:c-1", PLAIN, PLACE)
    keys.forget("customer:c-1")
    assert keys.decrypt(encrypted, PLACE) == PLAIN


def test_a_forgotten_subject_may_come_back_and_what_was_forgotten_stays_so(keys: EncryptionKeys) -> None:
    before = keys.encrypt("customer:c-1", PLAIN, PLACE)
    keys.forget("customer:c-1")
    after = keys.encrypt("customer:c-1", PLAIN, PLACE)
    assert keys.decrypt(after, PLACE) == PLAIN
    assert keys.decrypt(before, PLACE) is None


def test_forgetting_twice_or_a_stranger_changes_nothing(keys: EncryptionKeys) -> None:
    keys.forget("customer:nobody")
    encrypted = keys.encrypt("customer:c-1", PLAIN, PLACE)
    keys.forget("customer:c-1")
    keys.forget("customer:c-1")
    assert keys.decrypt(encrypted, PLACE) is None
