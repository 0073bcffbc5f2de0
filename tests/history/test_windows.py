"""Are the windows of a rebuild written in the order of the log, and are persons in them only as long as their keys?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.encryption import MasterKey, PostgresEncryptionKeys
from adapters.postgres.event_log import PostgresEventLog
from domain.personal import FORGOTTEN
from history.rebuild.replay import Replay
from projections import PROJECTIONS
from projections.customers import CUSTOMERS
from runtime.compose.process import pool_of
from runtime.compose.rebuild import ReplaySources
from tests.history.models import expected, found
from tests.history.rebuilding import UnevenSources
from tests.history.stories import OpenKeys, Stories, append

MASTER_KEY = bytes(range(32))


@pytest.fixture
def keys(migrated_database: str) -> Iterator[PostgresEncryptionKeys]:
    pool = pool_of(migrated_database, keep=1)
    yield PostgresEncryptionKeys(pool, MasterKey(MASTER_KEY))
    pool.close()


def test_a_worker_that_is_faster_does_not_write_before_its_turn(migrated_database: str) -> None:
    log = PostgresEventLog(migrated_database, OpenKeys())
    append(log, Stories(5, tenants=4).take(300))
    rebuilt = Replay(UnevenSources(migrated_database)).rebuild([], workers=3)
    assert (rebuilt.failures, rebuilt.position) == ({}, 300)
    assert found(migrated_database, PROJECTIONS) == expected(log.read(0, 1_000), PROJECTIONS)
    log.close()


def test_persons_are_decrypted_and_those_whose_key_is_gone_are_forgotten(
    migrated_database: str, keys: PostgresEncryptionKeys
) -> None:
    log = PostgresEventLog(migrated_database, keys)
    facts = Stories(1, tenants=10).take(300)
    append(log, facts)
    customers = sorted({str(key[0]) for key in expected(facts, PROJECTIONS)[CUSTOMERS]})
    keys.forget(f"customer:{customers[0]}")
    rebuilt = Replay(ReplaySources(migrated_database, MASTER_KEY)).rebuild([], workers=2)
    rows = found(migrated_database, PROJECTIONS)
    assert (rebuilt.failures, rows) == ({}, expected(log.read(0, 1_000), PROJECTIONS))
    names = {str(key[0]): row["name"] for key, row in rows[CUSTOMERS].items() if row["name"]}
    assert names.pop(customers[0]) == FORGOTTEN
    assert names
    assert FORGOTTEN not in names.values()
    log.close()
