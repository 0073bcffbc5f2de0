"""Append benchmark: the appends a second of 16 writers.

Ours against the library's own recorder: the same payload, the same number of writers, each side in as many processes
as serve it best. Ours with the high-water agent at work, which the peer does not need. Single events on the disk as it
is and with commits of 1 ms, and batches of 1,000.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final
from uuid import uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.high_water import HighWaterAgent
from benchmarks.harness import (
    Compared,
    Result,
    in_turns,
    our_database,
    peer_database,
    result,
    server,
    settle,
    slow_disk,
    together,
)
from benchmarks.population import example, parts

WRITERS: Final = 16
OUR_PROCESSES: Final = 4
PEER_PROCESSES: Final = 2
BATCH: Final = 1000

SMALL: Final = 100
"""Bytes of an event in a batch, on both sides: with 1,000 events of a usual size (450) the peer hangs, in the pipeline
mode of its driver, as soon as one call is larger than what the sockets hold."""


def run(*, runs: int, quick: bool = False) -> Result:
    seconds = 0.3 if quick else 5.0
    with server() as postgres:
        ours, peer = our_database(postgres), peer_database(postgres)
        settle(ours, peer)
        single = compare("append", ours, peer, runs=runs, seconds=seconds)
        with slow_disk(postgres):
            slow = compare("append, commits of 1 ms", ours, peer, runs=runs, seconds=seconds)
        batches = compare("append, batches of 1,000", ours, peer, runs=runs, seconds=seconds, batch=BATCH)
    return result(
        "append",
        single,
        writers=WRITERS,
        ratio_1ms=round(slow.ratio, 2),
        ours_1ms=round(median(slow.ours), 1),
        peer_1ms=round(median(slow.peer), 1),
        batch_ratio=round(batches.ratio, 2),
        batch_ours=round(median(batches.ours), 1),
        batch_peer=round(median(batches.peer), 1),
    )


def run_batches(*, runs: int, quick: bool = False) -> Result:
    """Batches of 1,000 only."""
    with server() as postgres:
        ours, peer = our_database(postgres), peer_database(postgres)
        settle(ours, peer)
        seconds = 0.3 if quick else 5.0
        batches = compare("append, batches of 1,000", ours, peer, runs=runs, seconds=seconds, batch=BATCH)
    return result("append_batch", batches, writers=WRITERS, batch=BATCH)


def compare(name: str, ours: str, peer: str, *, runs: int, seconds: float, batch: int = 1) -> Compared:
    make_peer_tables(peer)
    return in_turns(
        name,
        runs,
        ours=lambda: our_rate(ours, seconds=seconds, batch=batch),
        peer=lambda: rate(stock_writers, peer, PEER_PROCESSES, seconds=seconds, batch=batch),
    )


def our_rate(url: str, *, seconds: float, batch: int = 1, processes: int = OUR_PROCESSES) -> float:
    """Events a second, with the agent at work."""
    with agent(url):
        return rate(our_writers, url, processes, seconds=seconds, batch=batch)


def rate(
    work: Callable[..., Generator[None, None, float]], url: str, processes: int, *, seconds: float, batch: int
) -> float:
    worked = together(work, [(url, WRITERS // processes, batch, seconds)] * processes, seconds=seconds + 60)
    return float(sum(each.value for each in worked))


@contextmanager
def agent(url: str) -> Iterator[HighWaterAgent]:
    """The high-water agent, elected, while the block runs."""
    elected = HighWaterAgent(url)
    elected.start()
    while not elected.elected:
        time.sleep(0.01)
    try:
        yield elected
    finally:
        elected.stop()


# -- the writers ---------------------------------------------------------------------------------------------------


def our_writers(url: str, threads: int, batch: int, seconds: float) -> Generator[None, None, float]:
    log = PostgresEventLog(url, parts(url).keys, pool_size=threads)
    log.datastore.pool.open(wait=True)
    yield
    done = _write(lambda: log.recorder.insert_events(_events(batch, lambda: f"tenant:{uuid4()}")), threads, seconds)
    log.close()
    return done * batch


def stock_writers(url: str, threads: int, batch: int, seconds: float) -> Generator[None, None, float]:
    with stock_datastore(url, threads) as datastore:
        recorder = PostgresApplicationRecorder(datastore)
        yield
        return _write(lambda: recorder.insert_events(_events(batch, uuid4)), threads, seconds) * batch


def append_scattered(url: str, events: int) -> None:
    """So many events of a usual size, each the first of a stream of its own, in batches."""
    log = PostgresEventLog(url, parts(url).keys, pool_size=1)
    for start in range(0, events, BATCH):
        streams = [f"tenant:{uuid4()}" for _ in range(min(BATCH, events - start))]
        log.recorder.insert_events([StoredEvent(stream, 1, *_PAYLOAD) for stream in streams])
    log.close()


def make_peer_tables(url: str) -> None:
    """As CREATE_TABLE=y does."""
    with stock_datastore(url, 1) as datastore:
        PostgresApplicationRecorder(datastore).create_table()


def stock_datastore(url: str, threads: int) -> PostgresDatastore:
    parts = conninfo_to_dict(url)
    datastore = PostgresDatastore(
        dbname=str(parts["dbname"]),
        host=str(parts["host"]),
        port=str(parts["port"]),
        user=str(parts["user"]),
        password="",
        pool_size=threads,
    )
    datastore.pool.open(wait=True)
    return datastore


def _events(count: int, stream: Callable[[], object]) -> list[StoredEvent]:
    topic, state = _PAYLOAD if count == 1 else (_PAYLOAD[0], _PAYLOAD[1][:SMALL])
    return [StoredEvent(stream(), 1, topic, state) for _ in range(count)]  # type: ignore[arg-type]


_PAYLOAD: Final = example()


def _write(append: Callable[[], object], threads: int, seconds: float) -> float:
    """Appends a second, by threads that start no other one after `seconds`."""
    start = time.monotonic()
    counts = [0] * threads

    def writer(number: int) -> None:
        while time.monotonic() < start + seconds:
            append()
            counts[number] += 1

    running = [threading.Thread(target=writer, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / (time.monotonic() - start)
