"""Which log do the tests seal, and how is it tampered with?

Rows go straight into the table: the seal knows nothing of events, only of bytes. Some positions are left out, as by
appends that failed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.migrations import migrate
from adapters.postgres.seal_store import LeafTile, SealStore
from audit.checkpoints import Keyring, Note, Signer
from audit.seal import Seal, hashed
from audit.tiles import TILE, GrowingTree
from audit.verification import Verification, Verified
from tests.real_parts import make_database

EVENTS = 700

ORIGIN = "tenantry.example/log"
SIGNER = Signer.generate(ORIGIN)
KEYS = Keyring(ORIGIN, SIGNER, (SIGNER.verifier,))
NO_KEYS = Keyring(ORIGIN)

Connection = psycopg.Connection[tuple[Any, ...]]


def append(connection: Connection, positions: Sequence[int]) -> None:
    """Events at those positions, and the mark behind them."""
    with connection.cursor() as curs:
        curs.executemany(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state, notification_id)"
            " VALUES (%s, %s, %s, %s, %s)",
            [(f"tenant:{at % 7}", at, "tenantry.product-suspended", b'{"id":"%d"}' % at, at) for at in positions],
        )
    connection.execute("UPDATE high_water_mark SET position = greatest(position, %s)", (max(positions),))


def with_gaps(count: int, seed: int) -> list[int]:
    """So many positions, about one in ten left out; never the first or the last."""
    rng = random.Random(seed)  # noqa: S311 - a test is to be told again
    positions, at = [], 0
    for number in range(count):
        at += 2 if number and rng.random() < 0.1 else 1
        positions.append(at)
    return positions


def seal(url: str, keys: Keyring = KEYS, *, batch: int = 65_536) -> Note | None:
    with SealStore(url) as store:
        return Seal(store, keys, batch=batch).seal().note


def verify(url: str, keys: Keyring = KEYS, outside: Note | None = None) -> Verified:
    with SealStore(url) as store:
        return Verification(store, keys).verify(outside)


class Within(SealStore):
    """The store on a transaction of somebody else's, who takes back what was done in it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__("")
        self._connection = connection

    def close(self) -> None: ...

    @contextmanager
    def sealing(self) -> Iterator[None]:
        yield

    @contextmanager
    def looking(self) -> Iterator[None]:
        yield


def found(result: Verified) -> list[tuple[str, int, int]]:
    return [(finding.kind, finding.first, finding.last) for finding in result.findings]


# -- a log to tamper with ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Log:
    """A sealed log, and the newest checkpoint as somebody else holds it."""

    url: str
    positions: list[int]
    held: Note

    @property
    def gaps(self) -> list[int]:
        there = set(self.positions)
        return [at for at in range(1, self.positions[-1]) if at not in there]


def sealed_log(postgres: EmbeddedPostgres, name: str) -> Iterator[Log]:
    """A log of several tiles with gaps and checkpoints on its way, in a database of that name."""
    make_database(postgres, name)
    url = postgres.url(name)
    migrate(url)
    positions = with_gaps(EVENTS, 7)
    held = None
    with psycopg.connect(url, autocommit=True) as connection:
        for end in (90, 300, 512, EVENTS):
            begun = connection.execute("SELECT count(*) FROM stored_events").fetchone()
            assert begun is not None
            append(connection, positions[begun[0] : end])
            held = seal(url)
    assert held is not None
    yield Log(url, positions, held)
    postgres.drop_database(name)


def verified(log: Log, tamper: Callable[[Connection], object], outside: Note | None = None) -> Verified:
    """What is found after the tampering, which is then taken back."""
    with psycopg.connect(log.url) as connection:
        tamper(connection)
        result = Verification(Within(connection), KEYS).verify(outside)
        connection.rollback()
    return result


def forge(connection: Connection, positions: list[int]) -> None:
    """Tiles that fit the events that are left, and of the checkpoints those that were truly signed for so many."""
    store = Within(connection)
    hashes, where = hashed(store, -(2**63), 2**62)
    connection.execute("DELETE FROM seal_tiles")
    tree = GrowingTree()
    tiles = [*tree.add(hashes), *tree.edge()]
    store.write_tiles(
        [LeafTile(n, each, where[n * TILE * 8 :][: len(each) // 4]) for level, n, each in tiles if level == 0],
        [tile for tile in tiles if tile[0]],
    )
    for number, note in enumerate(store.notes(), 1):
        if Note.parse(note).checkpoint.size > len(positions):
            connection.execute("DELETE FROM seal_checkpoints WHERE number = %s", (number,))
