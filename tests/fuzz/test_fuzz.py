"""Is every message accounted for, and does every worker live, whatever lies on Kafka?

A whole Tenantry takes in what `messages.py` tells, in batches of all codecs, with broken batches between them. Then
each offset is looked up again in what Kafka keeps, and counted: nothing may be missing, nothing counted twice, no
worker may have ended, and no message may have met an error of ours.

`make test-fuzz FUZZ=1000000` tells a million; CI tells 20,000.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from zlib import crc32

import pytest

from tests.contracts.raw_batches import BROKEN, RawProducer, batch
from tests.fuzz.messages import Teller
from tests.journeys.events import Raw
from tests.journeys.running import Running, wait_for
from workers.roles import KINDS

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(0)]

CODECS = (0, 1, 2, 3, 4)
"""None, gzip, snappy, lz4, zstd."""

WAVE = 5_000
"""Messages that are put on Kafka before the intake is looked at again."""

BEHIND = 50_000
"""How far the intake may be behind: the broker keeps all in memory."""

SECONDS_WITHOUT_A_STEP = 120.0
"""The intake may be slow on a busy machine; it may not stand still."""

KEPT = tuple(KINDS)


def waves(messages: Iterator[Raw]) -> Iterator[list[Raw]]:
    while wave := list(itertools.islice(messages, WAVE)):
        yield wave


def put(producer: RawProducer, teller: Teller, wave: list[Raw]) -> int:
    """The wave in batches of all codecs, in the order of each key, and now and then a broken batch; the offsets it
    takes."""
    by_partition: dict[tuple[str, int], list[Raw]] = defaultdict(list)
    for message in wave:
        partitions = len(producer.partitions(message.topic))
        by_partition[message.topic, crc32(message.key or b"") % partitions].append(message)
    for (topic, partition), messages in by_partition.items():
        rest = iter(messages)
        while some := list(itertools.islice(rest, teller.dice.choice((1, 10, 200)))):
            records = [(each.key, each.value, each.headers) for each in some]
            producer.produce(topic, partition, batch(*records, codec=teller.dice.choice(CODECS)))
            if teller.dice.random() < 0.03:
                with suppress(AssertionError):  # a few of them even the embedded broker refuses
                    producer.produce(topic, partition, BROKEN[teller.dice.choice(list(BROKEN))]())
    return len(wave)


def counted(running: Running) -> int:
    """The messages that the database knows of, each as often as it came."""
    taken_in = "SELECT coalesce(sum(1 + duplicates), 0)::bigint FROM incoming"
    elsewhere = (
        "SELECT coalesce(sum(1 + q.repeats), 0)::bigint FROM quarantine q WHERE NOT EXISTS (SELECT FROM incoming i"
        " WHERE i.source = q.source AND i.id = q.id AND i.digest = q.digest)"
    )
    return int(running.one(taken_in)) + int(running.one(elsewhere))


def taken(running: Running) -> int:
    return int(running.one("SELECT coalesce(sum(next_offset), 0) FROM kafka_positions"))


def until(running: Running, is_reached: Callable[[], bool], what: str) -> None:
    """Waits for as long as the intake moves on."""
    while not is_reached():
        before = taken(running)
        wait_for(lambda: is_reached() or taken(running) > before, what, seconds=SECONDS_WITHOUT_A_STEP)  # noqa: B023


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_offset_is_accounted_for_and_no_worker_ends(
    client: str, data_dir: Path, unguarded: dict[str, str], pytestconfig: pytest.Config
) -> None:
    count, seed = pytestconfig.getoption("fuzz") // 2, pytestconfig.getoption("fuzz_seed")
    settings = {**unguarded, "TENANTRY_KAFKA_CLIENT": client, "TENANTRY_SWEEP_INTERVAL_SECONDS": "0"}
    teller, sent = Teller(seed + (client == "confluent-kafka") * 1_000_000), 0
    with Running(data_dir, settings) as running, closing(RawProducer(running.said["kafka_bootstrap"])) as producer:
        workers = {kind: running.pid_of(kind) for kind in KEPT}
        for wave in waves(teller.messages(count)):
            sent += put(producer, teller, wave)
            until(running, lambda: taken(running) > sent - BEHIND, "the intake to keep up")  # noqa: B023
        until(running, lambda: running.json("status")["intake"]["lag"] == 0, "the intake to have taken all in")

        audited = running.json("audit", "intake")
        assert (audited["missing"], audited["more"]) == ([], 0)
        assert audited["messages"] >= sent
        assert counted(running) == audited["messages"]
        rules = running.rows("SELECT rule, count(*), min(reason) AS reason FROM quarantine GROUP BY 1 ORDER BY 2 DESC")
        print(*(f"{row['count']:>8} {row['rule']:<24} {row['reason'][:80]}" for row in rules), sep="\n")  # noqa: T201
        assert "internal-error" not in {row["rule"] for row in rules}
        assert "undecodable" in {row["rule"] for row in rules}
        assert len(rules) > 8, "the fuzz has lost its teeth"
        assert running.one("SELECT count(*) FROM incoming WHERE outcome = 'recorded'") > count / 50

        halted = "SELECT name, halted_reason FROM projection_positions WHERE halted_at IS NOT NULL"
        assert running.rows(halted) == []
        assert {kind: running.pid_of(kind) for kind in KEPT} == workers, "a worker was started again"
        assert "worker ended" not in running.complaints()
    assert "Traceback" not in running.complaints()
    for log in (data_dir / "logs").iterdir():
        assert "Traceback" not in log.read_text(), log
