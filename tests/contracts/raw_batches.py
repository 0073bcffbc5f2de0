"""How does a test put on Kafka what no client would send?

A batch is made by kafka-python, then its bytes are changed, and a produce request of its own takes them to the leader.
The embedded broker stores most of what is broken; Apache Kafka looks at more, and stores a header's name that is not
UTF-8.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import google_crc32c
import lz4.frame
import snappy
import zstandard
from kafka.net.compat import KafkaNetClient
from kafka.protocol.metadata import MetadataRequest
from kafka.protocol.producer import ProduceRequest
from kafka.record.default_records import DefaultRecordBatchBuilder

Record = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]

_HEADER = 61
_NOT_THE_LEADER = 6
_LENGTH_AT = 8
_CRC_AT, _CHECKED_FROM, _ATTRIBUTES_AT = 17, 21, 21


def batch(*records: Record, codec: int = 0) -> bytearray:
    """A whole batch of key, value and headers."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**24,
    )
    for number, (key, value, headers) in enumerate(records):
        builder.append(number, 1_700_000_000_000 + number, key, value, list(headers))
    return bytearray(builder.build())


def checked(batch: bytearray) -> bytearray:
    """With the checksum that it ought to have."""
    struct.pack_into(">I", batch, _CRC_AT, google_crc32c.value(bytes(batch[_CHECKED_FROM:])))
    return batch


def with_a_header_name_that_is_not_utf_8() -> bytearray:
    made = batch((b"k", b"before", ()), (b"k", b"odd", [("x-odd", b"1")]), (b"k", b"after", ()))
    return checked(bytearray(bytes(made).replace(b"x-odd", b"x-\xff\xfe\xfd")))


def with_a_wrong_checksum() -> bytearray:
    made = batch((b"k", b"checked", ()))
    made[_CRC_AT] ^= 0xFF
    return made


def with_an_unknown_codec() -> bytearray:
    made = batch((b"k", b"1", ()), (b"k", b"2", ()))
    made[_ATTRIBUTES_AT + 1] |= 0x07
    return checked(made)


def with_content_that_is_not_of_its_codec() -> bytearray:
    made = batch((b"k", b"1", ()), (b"k", b"2", ()))
    made[_ATTRIBUTES_AT + 1] |= 0x01
    return checked(made)


def with_a_length_that_leads_out_of_its_record() -> bytearray:
    made = batch((b"k", b"before", ()), (b"k", b"broken", ()), (b"k", b"after", ()))
    at = bytes(made).index(b"broken") - 1
    made[at] = 0x7E  # 63 bytes, it says
    return checked(made)


def with_a_record_length_that_leads_out_of_its_batch() -> bytearray:
    made = batch((b"k", b"1", ()), (b"k", b"2", ()))
    made[_HEADER] = 0x7E
    return checked(made)


def with_more_than(size: int, *, codec: int) -> bytearray:
    """One record, it says, compressed to little; decompressed, there are so many bytes of zeros."""
    made = batch((b"k", b"x", ()))[:_HEADER] + _zeros(size, codec)
    made[_ATTRIBUTES_AT + 1] |= codec
    struct.pack_into(">i", made, _LENGTH_AT, len(made) - _LENGTH_AT - 4)
    return checked(made)


def _zeros(size: int, codec: int) -> bytes:
    compressor: Any = {
        1: lambda: zlib.compressobj(9, wbits=31),
        3: lz4.frame.LZ4FrameCompressor,
        4: lambda: zstandard.ZstdCompressor().compressobj(),
    }
    if codec == 2:
        return bytes(snappy.compress(bytes(size)))
    making = compressor[codec]()
    parts = [making.begin()] if codec == 3 else []
    parts += [making.compress(bytes(2**20)) for _ in range(size // 2**20)]
    return b"".join([*parts, making.flush()])


BROKEN: dict[str, Callable[[], bytearray]] = {
    "a header's name": with_a_header_name_that_is_not_utf_8,
    "a checksum": with_a_wrong_checksum,
    "an unknown codec": with_an_unknown_codec,
    "a codec's content": with_content_that_is_not_of_its_codec,
    "a length in a record": with_a_length_that_leads_out_of_its_record,
    "a decompression bomb": lambda: with_more_than(96 * 2**20, codec=4),
    "the length of a record": with_a_record_length_that_leads_out_of_its_batch,
}


def produce(bootstrap: str, topic: str, partition: int, content: bytes | bytearray) -> None:
    """Raises AssertionError where the broker refuses it."""
    with closing(RawProducer(bootstrap)) as producer:
        producer.produce(topic, partition, content)


class RawProducer:
    """Brings batches to the one broker, or to the first that answers, as they are."""

    def __init__(self, bootstrap: str) -> None:
        self._client = KafkaNetClient(bootstrap_servers=bootstrap)
        self._client.check_version()
        self._leaders: dict[str, dict[int, int]] = {}

    def partitions(self, topic: str) -> dict[int, int]:
        """The leader of each partition."""
        if topic not in self._leaders:
            known = self._client.send_and_receive(
                self._client.least_loaded_node(bootstrap_fallback=True),
                MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name=topic)], max_version=12),
            )
            self._leaders[topic] = {each.partition_index: each.leader_id for each in known.topics[0].partitions}
        return self._leaders[topic]

    def produce(self, topic: str, partition: int, content: bytes | bytearray) -> None:
        """Raises AssertionError where the broker refuses it."""
        data = ProduceRequest.TopicProduceData
        request = ProduceRequest(
            transactional_id=None,
            acks=-1,
            timeout_ms=10_000,
            topic_data=[
                data(name=topic, partition_data=[data.PartitionProduceData(index=partition, records=bytes(content))])
            ],
            max_version=8,
        )
        code, attempts = _NOT_THE_LEADER, 0
        while code == _NOT_THE_LEADER and attempts < 50:  # yet: its topic was made a moment ago
            time.sleep(0.1 if attempts else 0)
            answer = self._client.send_and_receive(self.partitions(topic)[partition], request)
            code, attempts = answer.responses[0].partition_responses[0].error_code, attempts + 1
        assert code == 0, f"the broker refuses it: error {code}"

    def close(self) -> None:
        self._client.close()
