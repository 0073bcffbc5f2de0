"""Codecs of Kafka's record batches, each bounded: no batch takes more memory than MAX_BATCH_BYTES, whatever it says.

16 KB of zstd can stand for 512 MB of zeros, and no broker looks at what a producer has compressed. So each codec stops
at the bound and raises TooLarge; its batch is then isolated like one that does not decode (kafka_batches.py).

The packages of three codecs are imported where they are used: `require_codecs` says in one line which is missing.

kafka-python's own codecs have no bound, and it decompresses before anybody sees a message. `bound_kafka_python` puts
these in their place, so both ways of reading stop at the same number.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from kafka import codec
from kafka.record import default_records, legacy_records

MAX_BATCH_BYTES: Final = 64 * 2**20
"""Of one batch, decompressed. Brokers take batches of about 1 MiB by default, before they are decompressed."""

_PART: Final = 2**20
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = 16


class TooLarge(Exception):
    """A batch holds more than MAX_BATCH_BYTES, decompressed."""


def gunzip(data: bytes) -> bytes:
    """What gzip made, of one member or several. Raises TooLarge, zlib.error, EOFError."""
    rest, made = bytes(data), bytearray()
    while rest:
        member = zlib.decompressobj(wbits=31)
        made += member.decompress(rest, _left(made))
        if not member.eof and (member.unconsumed_tail or len(made) > MAX_BATCH_BYTES):
            raise TooLarge
        if not member.eof:
            raise EOFError("the end of the compressed content is missing")
        rest = member.unused_data.lstrip(b"\0")
    return _whole(made)


def unsnappy(data: bytes) -> bytes:
    """What snappy made, in the blocks of the Java client or as one. Raises TooLarge, and snappy's errors."""
    if data[: len(_XERIAL)] != _XERIAL:
        return _unsnappy_block(data, 0)
    made, at = bytearray(), _XERIAL_HEADER
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big", signed=True)
        if not at + 4 <= end <= len(data):
            raise ValueError("the length of a block is wrong")
        made += _unsnappy_block(data[at + 4 : end], len(made))
        at = end
    return bytes(made)


def _unsnappy_block(data: bytes, before: int) -> bytes:
    """A block begins with the number of bytes that it stands for."""
    size = shift = 0
    for byte in data[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if before + size > MAX_BATCH_BYTES:
        raise TooLarge
    import snappy  # noqa: PLC0415 - so that one that is missing is reported in one line

    return bytes(snappy.decompress(bytes(data)))


def unlz4(data: bytes) -> bytes:
    """What LZ4 made, one frame. Raises TooLarge, RuntimeError, EOFError."""
    import lz4.frame  # noqa: PLC0415 - as above

    frame = lz4.frame.LZ4FrameDecompressor()
    made = frame.decompress(bytes(data), max_length=MAX_BATCH_BYTES + 1)
    whole = _whole(made)
    if not frame.eof:
        raise EOFError("the end of the compressed content is missing")
    return whole


def unzstd(data: bytes) -> bytes:
    """What zstd made, of one frame or several. Raises TooLarge, zstandard.ZstdError."""
    import zstandard  # noqa: PLC0415 - as above

    made = bytearray()
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
        while part := reader.read(_PART):
            made += part
            _whole(made)
    return bytes(made)


def _left(made: bytes | bytearray) -> int:
    """One more than what may still come: who gets it knows that there is too much."""
    return MAX_BATCH_BYTES - len(made) + 1


def _whole(made: bytes | bytearray) -> bytes:
    if len(made) > MAX_BATCH_BYTES:
        raise TooLarge
    return made if isinstance(made, bytes) else bytes(made)


CODECS: Final[Mapping[int, tuple[str, Callable[[bytes], bytes]]]] = {
    1: ("gzip", gunzip),
    2: ("snappy", unsnappy),
    3: ("lz4", unlz4),
    4: ("zstd", unzstd),
}
"""By their number in a batch."""


def bound_kafka_python() -> None:
    """Let kafka-python decompress by the codecs of this module, wherever it knows its own by name."""
    modules: tuple[Any, ...] = (codec, default_records, legacy_records)
    for name, decompress in CODECS.values():
        for module in modules:
            if hasattr(module, f"{name}_decode"):
                setattr(module, f"{name}_decode", decompress)
