"""The wire format of tenant contexts: checksummed frames, of which the changes stream and the snapshot are made.

    frame     u32 length | u32 crc32 of the payload | payload (msgpack, a tagged union by `type`)
    stream    Hello, then Changes and Heartbeats, each continuing where the last one ended; or Gone
    snapshot  TNTYCTX1, Hello, Changes ..., End with the SHA-256 of all payloads before it

Numbers are big endian. A reader that meets anything else raises `Garbled`, and has changed nothing: a snapshot counts
only once its End has been read and agrees. Tenants in a snapshot are in the order of their ids, hosts in theirs, each
as bytes; a reader may use that to load faster, and must not depend on it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from struct import Struct as Packed
from typing import Final, NamedTuple

import msgspec

FORMAT: Final = 2
MAGIC: Final = b"TNTYCTX1"
MAX_PAYLOAD: Final = 16 * 1024 * 1024
CHUNK: Final = 1_000

_HEADER: Final = Packed(">II")


class Garbled(Exception):
    """What was read is no frame, is cut off, or is of another format."""


class TenantChange(NamedTuple):
    """One tenant's document as of `version`; None where the tenant has no context any more."""

    tenant_id: str
    version: int
    document: bytes | None


class HostChange(NamedTuple):
    """The tenant to which a host belongs as of `position`; None where it belongs to none any more."""

    host: str
    tenant_id: str | None
    position: int


class KeyChange(NamedTuple):
    """The public key (PEM) of a service by its `kid`, as of `position`; None where it was revoked."""

    key_id: str
    public_key: str | None
    position: int


class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """The first frame: which log is told here, and up to where it can be told now."""

    log: str
    epoch: int
    format: int
    position: int


class Changes(msgspec.Struct, frozen=True, tag_field="type", tag="changes"):
    """All that changed in (after, position]. In a snapshot both are its position."""

    after: int
    position: int
    tenants: list[TenantChange]
    hosts: list[HostChange]
    keys: list[KeyChange] = []


class Heartbeat(msgspec.Struct, frozen=True, tag_field="type", tag="heartbeat"):
    """Nothing changed in (after, position]."""

    after: int
    position: int


class Gone(msgspec.Struct, frozen=True, tag_field="type", tag="gone"):
    """The position that was asked for is older than what this service can tell: take a snapshot."""


class End(msgspec.Struct, frozen=True, tag_field="type", tag="end"):
    """The last frame of a snapshot."""

    position: int
    tenants: int
    digest: bytes


Frame = Hello | Changes | Heartbeat | Gone | End

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[Frame]] = msgspec.msgpack.Decoder(Frame)


def payload_of(frame: Frame) -> bytes:
    """The payload alone, as the snapshot's digest counts it."""
    return _ENCODER.encode(frame)


def framed(payload: bytes) -> bytes:
    """The frame around a payload."""
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def encode(frame: Frame) -> bytes:
    """A frame as it is sent."""
    return framed(payload_of(frame))


def decode_payload(payload: bytes) -> Frame:
    """Raises Garbled."""
    try:
        return _DECODER.decode(payload)
    except msgspec.MsgspecError as error:
        raise Garbled(f"a frame of an unknown form: {error}") from None


class FrameReader:
    """Takes bytes as they arrive, and gives the payloads of the frames that are whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads that are whole now. Raises Garbled."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            length, checksum = _HEADER.unpack_from(self._buffer)
            if length > MAX_PAYLOAD:
                raise Garbled(f"a frame of {length} bytes: at most {MAX_PAYLOAD} are taken")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            if zlib.crc32(payload) != checksum:
                raise Garbled("a frame whose checksum is wrong")
            del self._buffer[:end]
            yield payload

    @property
    def is_empty(self) -> bool:
        """Whether no frame is cut off."""
        return not self._buffer


# -- snapshots -----------------------------------------------------------------------------------------------------


def write_snapshot(hello: Hello, chunks: Iterable[Changes]) -> Iterator[bytes]:
    """The bytes of a snapshot, piece by piece. `hello.position` is the position of the whole."""
    digest, tenants = hashlib.sha256(), 0
    yield MAGIC
    frames: Iterator[Hello | Changes] = chain((hello,), chunks)
    for frame in frames:
        payload = payload_of(frame)
        digest.update(payload)
        if isinstance(frame, Changes):
            tenants += len(frame.tenants)
        yield framed(payload)
    yield encode(End(position=hello.position, tenants=tenants, digest=digest.digest()))


def read_snapshot(pieces: Iterable[bytes]) -> Iterator[Hello | Changes]:
    """Hello, then the chunks. Raises Garbled, at the latest after the last chunk: until then nothing may count."""
    reader, digest = FrameReader(), hashlib.sha256()
    hello: Hello | None = None
    tenants, ended = 0, False
    for payload in _payloads(reader, pieces):
        if ended:
            raise Garbled("a snapshot that goes on after its end")
        frame = decode_payload(payload)
        match frame:
            case Hello() if hello is None:
                hello = frame
            case Changes() if hello is not None and frame.position == hello.position:
                tenants += len(frame.tenants)
            case End() if hello is not None:
                if (frame.position, frame.tenants, frame.digest) != (hello.position, tenants, digest.digest()):
                    raise Garbled("a snapshot whose end does not agree with what came before")
                ended = True
                continue
            case _:
                raise Garbled(f"a snapshot with a {type(frame).__name__} out of place")
        digest.update(payload)
        yield frame
    if not ended or not reader.is_empty:
        raise Garbled("a snapshot that is cut off")


def _payloads(reader: FrameReader, pieces: Iterable[bytes]) -> Iterator[bytes]:
    head = b""
    for piece in pieces:
        if len(head) >= len(MAGIC):
            yield from reader.feed(piece)
            continue
        head += piece
        if not head.startswith(MAGIC[: len(head)]):
            raise Garbled("this is no snapshot of tenant contexts")
        yield from reader.feed(head[len(MAGIC) :])
