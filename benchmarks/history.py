"""History benchmark: the speed of the seal, of proofs, of the export and of past read models.

Each part is a function that gives figures of its own; `PARTS` is the list. They share one server.

    seal      events a second that `seal` hashes, folds and stores, and that `verify` computes anew, on a log of 300,000
              events; beside them the floor: hashlib over the same bytes, one call an event, nothing else
    proof     milliseconds that the proof of one event takes in a log of 10 million, the median over random positions
    export    events a second that `audit export` writes as Parquet (exporting.py)
    as-of     events a second that `replay as-of` reads, against a rebuild (as_of.py)

Ten million events would take longer to write than all else here. So for `proof` the tiles are real, all 39,063 of them
and those above, over made-up hashes; of the events only those that are asked for are in the log. A proof reads one row
of the log and a few tiles by their keys, so it takes the same steps as in a full one, on a smaller index.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from statistics import median
from typing import Any

import psycopg

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.seal_store import BEFORE_ALL, LeafTile, SealStore, packed
from audit.checkpoints import Checkpoint, Keyring, Signer
from audit.merkle import HASH_BYTES, leaf_hash
from audit.seal import Seal
from audit.tiles import TILE, GrowingTree
from audit.verification import Verification
from benchmarks.as_of import asof_ratio
from benchmarks.exporting import export_rate
from benchmarks.harness import Result, our_database, progress, server, settle
from benchmarks.population import EVENTS_OF_A_LIFE, lives, load

EVENTS = 300_000
PROOF_EVENTS = 10_000_000
PROOFS = 200

SIGNER = Signer.generate("bench.example/log")
KEYS = Keyring(SIGNER.name, SIGNER, (SIGNER.verifier,))

Figures = dict[str, Any]
Part = Callable[[EmbeddedPostgres, int, bool], Figures]


def run(*, runs: int, quick: bool = False) -> Result:
    figures: Figures = {}
    with server() as postgres:
        for part in PARTS:
            figures |= part(postgres, runs, quick)
    return {"bench": "history", "unit": "events/s", "runs": runs, **figures}


# -- seal ----------------------------------------------------------------------------------------------------------


def seal(postgres: EmbeddedPostgres, runs: int, quick: bool) -> Figures:
    """Seal, verify and floor in turns, `runs` times."""
    url = our_database(postgres, "seal")
    load(url, lives, range((1_000 if quick else EVENTS) // EVENTS_OF_A_LIFE))
    sealed, verified, floor = [], [], []
    for number in range(1, runs + 1):
        with psycopg.connect(url) as connection:
            connection.execute("TRUNCATE seal_tiles, seal_checkpoints")
        with SealStore(url) as store:
            sealed.append(Seal(store, KEYS).seal().rate)
            looked = Verification(store, KEYS).verify()
            assert not looked.findings
            verified.append(looked.rate)
            with store.looking():
                floor.append(hashlib_rate([bytes(leaf) for leaf in store.leaves(BEFORE_ALL, 2**62)]))
        rates = f"seal {sealed[-1]:,.0f}/s, verify {verified[-1]:,.0f}/s, hashlib {floor[-1]:,.0f}/s"
        progress(f"history, run {number} of {runs}: {rates}")
    return {
        "seal_rate": round(median(sealed), 1),
        "verify_rate": round(median(verified), 1),
        "hashlib_rate": round(median(floor), 1),
        "seal_ratio": round(median(sealed) / median(floor), 3),
        "verify_ratio": round(median(verified) / median(floor), 3),
        "seal_runs": [round(rate, 1) for rate in sealed],
        "verify_runs": [round(rate, 1) for rate in verified],
        "hashlib_runs": [round(rate, 1) for rate in floor],
    }


def hashlib_rate(leaves: Sequence[bytes]) -> float:
    """The floor: what is to be hashed lies in memory, and of the hashes nothing is made."""
    started = time.monotonic()
    for leaf in leaves:
        sha256(leaf).digest()
    return len(leaves) / (time.monotonic() - started)


# -- proof ---------------------------------------------------------------------------------------------------------


def proof(postgres: EmbeddedPostgres, runs: int, quick: bool) -> Figures:
    """A connection that is open, as a server's is; the command adds the start of Python."""
    url = our_database(postgres, "proof")
    events, proofs = (10_000, 10) if quick else (PROOF_EVENTS, PROOFS)
    positions = random.Random(6962).sample(range(1, events + 1), proofs)
    with psycopg.connect(url) as connection, connection.cursor() as curs:
        curs.executemany(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state, notification_id)"
            " VALUES ('tenant:bench', %s, 'tenantry.bench', %s, %s)",
            [(at, b"x" * 600, at) for at in positions],
        )
    with SealStore(url) as store:
        progress(f"laying {events:,} leaves")
        _lay(store, events, positions)
        settle(url)
        sealed, took = Seal(store, KEYS), []
        for at in positions:
            started = time.perf_counter()
            sealed.prove(at)
            took.append((time.perf_counter() - started) * 1000)
    took.sort()
    return {
        "proof_ms": round(median(took), 2),
        "proof_worst_ms": round(took[-1], 2),
        "proof_events": events,
    }


def _lay(store: SealStore, events: int, positions: Sequence[int]) -> None:
    tree, step = GrowingTree(), 256 * TILE
    with store.sealing():
        real = {at: leaf_hash(*map(bytes, store.leaves(at - 1, at))) for at in positions}
        for first in range(0, events, step):
            count = min(step, events - first)
            hashes = bytearray(random.Random(first).randbytes(count * HASH_BYTES))
            for at in positions:
                if first < at <= first + count:
                    hashes[(at - 1 - first) * HASH_BYTES : (at - first) * HASH_BYTES] = real[at]
            tiles = [*tree.add(bytes(hashes)), *(tree.edge() if first + count == events else ())]
            store.write_tiles(
                [
                    LeafTile(
                        number, each, packed(range(number * TILE + 1, number * TILE + 1 + len(each) // HASH_BYTES))
                    )
                    for level, number, each in tiles
                    if level == 0
                ],
                [tile for tile in tiles if tile[0]],
            )
        store.write_note(str(SIGNER.sign(Checkpoint(SIGNER.name, events, tree.root(), events))))


PARTS: tuple[Part, ...] = (seal, proof, export_rate, asof_ratio)
