"""Record batches, as a broker keeps them, decoded record by record.

A Kafka client gives up a whole batch, and the partition with it, where one record does not decode. This decoder
isolates what is broken and goes on behind it:

    the checksum, the codec or the format is wrong,
    or it is larger than MAX_BATCH_BYTES              the batch is one undecodable message, with the batch's bytes
    a length leads out of the batch                   what is left of the batch is one, with those bytes
    a record contradicts its own lengths              that record is one, with its bytes
    a header's name is not UTF-8                      that record is one; all else of it is known

The adapters of both clients hand over to it what their client cannot decode, and `tenantry audit intake` reads with it.
The format is that of https://kafka.apache.org/documentation/#recordbatch; batches of the formats before (magic 0 and
1) are decoded by kafka-python.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import google_crc32c
from kafka import codec
from kafka.record.legacy_records import LegacyRecordBatch

from adapters.kafka.codecs import CODECS, MAX_BATCH_BYTES, TooLarge, bound_kafka_python
from adapters.kafka.ports import Message, Partition
from domain.errors import UsageError, problem

_PACKAGES: Final = (("python-snappy", codec.has_snappy), ("lz4", codec.has_lz4), ("zstandard", codec.has_zstd))

bound_kafka_python()

_FRAME: Final = struct.Struct(">qi")  # base offset, length of what follows
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_MAGIC_AT: Final = 16
_CHECKED_FROM: Final = 21
_SHORTEST: Final = 22 - _FRAME.size  # the parts of a batch that every format has
_CONTROL, _TRANSACTIONAL, _APPEND_TIME, _CODEC = 0x20, 0x10, 0x08, 0x07


def require_codecs() -> None:
    """Raises UsageError where a package is missing: a batch that is compressed so could never be read."""
    missing = [package for package, is_there in _PACKAGES if not is_there()]
    if missing:
        raise UsageError(problem("codecs-not-installed", missing=", ".join(missing), packages=" ".join(missing)))


@dataclass(slots=True)
class Decoded:
    """The messages from an offset on, and the next offset to read: behind control records and aborted messages."""

    next_offset: int
    messages: list[Message] = field(default_factory=list)

    def add(self, message: Message) -> None:
        if message.offset >= self.next_offset:
            self.messages.append(message)

    def pass_to(self, offset: int) -> None:
        self.next_offset = max(self.next_offset, offset)

    def cut_to(self, limit: int) -> None:
        """Keep so many messages; the others are read next time."""
        if len(self.messages) > limit:
            self.next_offset = self.messages[limit].offset
            del self.messages[limit:]


class _Broken(Exception):
    """Why something does not decode."""


def decode(
    partition: Partition,
    data: bytes,
    start: int,
    aborted: Iterable[tuple[int, int]] = (),
    *,
    enough: float = math.inf,
) -> Decoded:
    """What `data`, the answer to a fetch from `start`, holds; `aborted` are (producer id, first offset).

    No batch is touched behind the one that brings the messages to `enough`: it may be large, and is fetched again.

    Raises nothing. A batch that the answer cuts off at its end is left to the next fetch, unless it is the only one.
    """
    decoded = Decoded(start)
    transactions = _Transactions(aborted)
    at = 0
    while len(data) - at >= _FRAME.size and len(decoded.messages) < enough:
        base, length = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + length
        if length < _SHORTEST or end > len(data):
            if at == 0 or length < _SHORTEST:
                first = max(decoded.next_offset, base if at else start)
                decoded.add(_undecodable(partition, first, data[at:], "the length of its batch is wrong"))
                decoded.pass_to(first + 1)
            break
        following = _FRAME.unpack_from(data, end)[0] if len(data) - end >= _FRAME.size else None
        _decode_batch(partition, data[at:end], decoded, transactions, following)
        at = end
    return decoded


def _decode_batch(
    partition: Partition, batch: bytes, decoded: Decoded, transactions: _Transactions, following: int | None
) -> None:
    base = _FRAME.unpack_from(batch)[0]
    first = max(decoded.next_offset, base)
    after = following if following is not None and following > base else first + 1
    try:
        if batch[_MAGIC_AT] < 2:
            _decode_legacy(partition, batch, decoded)
            return
        header = _Header.of(batch)
        after = header.last + 1
        if transactions.hides(header) or header.last < first:
            decoded.pass_to(after)
            return
        content = _content(header, batch)
    except _Broken as broken:
        # Where its header is broken, the next batch tells which offsets it has, or they are found out one by one.
        if after > first:
            which = f"offsets {first} to {after - 1}" if after > first + 1 else f"offset {first}"
            decoded.add(_undecodable(partition, first, batch, f"{which}: {broken}"))
            decoded.pass_to(after)
        return
    for message in _records(partition, header, content, first):
        decoded.add(message)
    decoded.pass_to(after)


def _content(header: _Header, batch: bytes) -> bytes:
    """The records of a batch, decompressed."""
    content = batch[_HEADER.size :]
    if not header.codec:
        return content
    if header.codec not in CODECS:
        raise _Broken(f"its batch is compressed by codec {header.codec}, which is unknown")
    name, decompress = CODECS[header.codec]
    try:
        return decompress(content)
    except TooLarge as error:
        raise _Broken(f"its batch holds more than {MAX_BATCH_BYTES // 2**20} MiB once decompressed") from error
    except Exception as error:  # each codec has errors of its own
        raise _Broken(f"its batch is not {name}, as it says ({type(error).__name__})") from error


@dataclass(frozen=True, slots=True)
class _Header:
    base: int
    last: int
    attributes: int
    first_time: int
    last_time: int
    producer: int
    count: int

    @staticmethod
    def of(batch: bytes) -> _Header:
        if batch[_MAGIC_AT] != 2:
            raise _Broken(f"its batch has format {batch[_MAGIC_AT]}, which is unknown")
        if len(batch) < _HEADER.size:
            raise _Broken("its batch is shorter than a header")
        base, _, _, _, crc, attributes, delta, first, last, producer, _, _, count = _HEADER.unpack_from(batch)
        if google_crc32c.value(batch[_CHECKED_FROM:]) != crc:
            raise _Broken("the checksum of its batch is wrong")
        if delta < 0 or count < 0:
            raise _Broken("its batch has a negative number of records")
        return _Header(base, base + delta, attributes, first, last, producer, count)

    @property
    def codec(self) -> int:
        return self.attributes & _CODEC

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & _CONTROL)


class _Transactions:
    """Which producers' batches are of an aborted transaction, from here to its marker."""

    def __init__(self, aborted: Iterable[tuple[int, int]]) -> None:
        self._to_come = deque(sorted(aborted, key=lambda each: each[1]))
        self._aborted: set[int] = set()

    def hides(self, header: _Header) -> bool:
        """Whether the batch holds nothing for a reader: the end of a transaction, or part of an aborted one."""
        while self._to_come and self._to_come[0][1] <= header.last:
            self._aborted.add(self._to_come.popleft()[0])
        if header.is_control:
            self._aborted.discard(header.producer)  # the end of its transaction, whichever it is
            return True
        return bool(header.attributes & _TRANSACTIONAL) and header.producer in self._aborted


# -- records -------------------------------------------------------------------------------------------------------


def _records(partition: Partition, header: _Header, content: bytes, first: int) -> Iterator[Message]:
    at, expected, number = 0, header.base, 0
    while expected <= header.last and (number < header.count or at < len(content)):
        try:
            _must(number < header.count, "its batch holds more than it tells of")
            begin, end = _slice(content, at)
        except _Broken as broken:
            lost = max(first, expected)
            which = f"offsets {lost} to {header.last}" if header.last > lost else f"offset {lost}"
            yield _undecodable(partition, lost, content[at:], f"{which}: {broken}")
            return
        message = _record(partition, header, content[begin:end], expected)
        at, expected, number = end, message.offset + 1, number + 1
        yield message


def _slice(content: bytes, at: int) -> tuple[int, int]:
    """Where the next record begins and ends."""
    length, begin = _varint(content, at)
    if not 0 <= length <= len(content) - begin:
        raise _Broken("its length leads out of its batch")
    return begin, begin + length


def _record(partition: Partition, header: _Header, record: bytes, expected: int) -> Message:
    offset = expected
    try:
        delta_time, at = _varint(record, 1)
        delta, at = _varint(record, at)
        if expected <= header.base + delta <= header.last:
            offset = header.base + delta
        _must(offset == header.base + delta, "its offset is not of its batch")
        key, at = _bytes(record, at)
        value, at = _bytes(record, at)
        headers, at = _headers(record, at)
        _must(at == len(record), f"it has {len(record) - at} bytes more than it tells of")
    except _Broken as broken:
        return _undecodable(partition, offset, record, str(broken))
    is_named = all(_is_utf_8(name) for name, _ in headers)
    return Message(
        topic=partition.topic,
        topic_id=partition.topic_id,
        partition=partition.partition,
        offset=offset,
        key=key,
        value=value,
        headers=tuple((name.decode("utf-8", "backslashreplace"), content) for name, content in headers),
        timestamp_ms=header.last_time if header.attributes & _APPEND_TIME else header.first_time + delta_time,
        undecodable=None if is_named else "the name of a header is not UTF-8: send header names in UTF-8",
    )


def _headers(record: bytes, at: int) -> tuple[list[tuple[bytes, bytes]], int]:
    count, at = _varint(record, at)
    _must(0 <= count <= len(record) - at, "its number of headers is wrong")
    headers: list[tuple[bytes, bytes]] = []
    for _ in range(count):
        name, at = _bytes(record, at)
        _must(name is not None, "a header has no name")
        content, at = _bytes(record, at)
        headers.append(((name or b"").partition(b"\0")[0], content or b""))  # see Message
    return headers, at


def _must(truth: bool, otherwise: str) -> None:
    if not truth:
        raise _Broken(otherwise)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in zigzag form, of at most 10 bytes, and where it ends."""
    number = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
    raise _Broken("a number in it does not end")


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    if length > len(data) - at:
        raise _Broken("a length in it leads out of it")
    return data[at : at + length], at + length


def _is_utf_8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _undecodable(partition: Partition, offset: int, content: bytes, why: str) -> Message:
    return Message(
        topic=partition.topic,
        topic_id=partition.topic_id,
        partition=partition.partition,
        offset=offset,
        key=None,
        value=content,
        headers=(),
        timestamp_ms=-1,
        undecodable=why,
    )


def _decode_legacy(partition: Partition, batch: bytes, decoded: Decoded) -> None:
    """A message of before Kafka 0.11, or several that are compressed together; none of them has headers."""
    records: list[Any] = []
    try:
        legacy = LegacyRecordBatch(memoryview(batch), batch[_MAGIC_AT])
        _must(legacy.validate_crc(), "its checksum is wrong")
        records += legacy
    except _Broken:
        raise
    except Exception as error:  # whatever a broken one does to kafka-python
        raise _Broken(f"its message of format {batch[_MAGIC_AT]} is broken ({type(error).__name__})") from error
    for record in records:
        place = partition.topic, partition.topic_id, partition.partition, record.offset
        decoded.add(Message(*place, record.key, record.value, (), record.timestamp or -1))
    decoded.pass_to(max([_FRAME.unpack_from(batch)[0], *(record.offset for record in records)]) + 1)
