"""Which log do the tests seal, and how is it tampered with?

Rows go straight into the table: the seal knows nothing of events, only of bytes. Some positions are left out, as by
appends that failed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from adapters.seal_store import SealStore
from history.checkpoints import Keyring, Note, Signer
from history.seal import Seal
from history.verification import Verification, Verified

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
