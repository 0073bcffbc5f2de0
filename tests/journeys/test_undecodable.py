"""Does `up` go on behind whatever lies on Kafka, with either client?"""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka import KafkaProducer

from adapters.kafka.raw_reader import PartitionReader
from tests.contracts import raw_batches
from tests.journeys.events import LIFECYCLE, created, new_tenant
from tests.journeys.running import Running, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.timeout(300)]


@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
def test_what_no_client_decodes_stops_no_partition(data_dir: Path, client: str) -> None:
    with Running(data_dir, {"TENANTRY_KAFKA_CLIENT": client}) as tenantry:
        bootstrap = tenantry.said["kafka_bootstrap"]
        with PartitionReader(bootstrap) as reader:
            partitions = [each.partition for each in reader.partitions([LIFECYCLE])]
        intake = tenantry.pid_of("intake")
        put = 0
        for make in raw_batches.BROKEN.values():
            try:
                for partition in partitions:
                    raw_batches.produce(bootstrap, LIFECYCLE, partition, make())
                    put += 1
            except AssertionError:
                continue  # the broker refuses an unknown codec
        events = [created(new_tenant(), "atlas") for _ in range(8)]
        for codec in ("gzip", "snappy", "lz4", "zstd"):
            producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec)
            for event in events:
                raw = event.raw()
                producer.send(LIFECYCLE, key=raw.key, value=raw.value, headers=list(raw.headers))
            producer.flush()
            producer.close()
        tenantry.until_taken_in(*events)
        wait_for(lambda: tenantry.json("status")["intake"]["lag"] == 0, "the lag to be none")
        told = tenantry.json("status")
        assert told["messages"]["undecodable"] > 0
        assert told["intake"]["unread"] == []
        assert tenantry.pid_of("intake") == intake, "it never ended"
        broken = tenantry.one("SELECT sum(repeats + 1)::int FROM quarantine WHERE rule = 'undecodable'")
        assert broken == put, "the same bytes at the same offset of another partition are counted"
        audited = tenantry.json("audit", "intake")
        assert (audited["missing"], audited["messages"]) == (
            [],
            sum(each["messages"] for each in audited["partitions"]),
        )
        assert audited["messages"] > put
