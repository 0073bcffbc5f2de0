"""Does the decoder isolate what is broken, whatever is, and never stand still?"""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.kafka.codecs import CODECS, MAX_BATCH_BYTES, gunzip
from adapters.kafka.ports import Partition
from adapters.kafka.record_batches import decode
from tests.contracts import raw_batches
from tests.contracts.raw_batches import batch, checked

HOME = Partition("topic", "id", 3)


def at(base: int, made: bytearray) -> bytes:
    """The batch at that offset; the checksum does not cover it."""
    struct.pack_into(">q", made, 0, base)
    return bytes(made)


def seen(data: bytes, start: int = 0) -> list[tuple[int, bytes | None, bool]]:
    messages = decode(HOME, data, start).messages
    return [(message.offset, message.value, message.undecodable is not None) for message in messages]


@pytest.mark.parametrize("codec", range(5))
def test_each_codec_is_read(codec: int) -> None:
    records = [(b"k", b"%d" % number, [("name", b"x"), ("name", b"")]) for number in range(3)]
    decoded = decode(HOME, at(7, batch(*records, codec=codec)), 7)
    assert [(each.offset, each.key, each.value, each.headers) for each in decoded.messages] == [
        (7 + number, b"k", b"%d" % number, (("name", b"x"), ("name", b""))) for number in range(3)
    ]
    assert decoded.next_offset == 10
    assert decoded.messages[2].timestamp_ms == 1_700_000_000_002


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_is_too_large_once_decompressed_is_one_message_and_the_next_one_comes(codec: int) -> None:
    """As in a decompression bomb: the memory that it takes is bounded, whatever the batch says of itself."""
    made = at(1, raw_batches.with_more_than(3 * MAX_BATCH_BYTES, codec=codec))
    tracemalloc.start()
    try:
        decoded = decode(HOME, made + at(2, batch((None, b"behind", ()))), 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    broken, last = decoded.messages
    assert (broken.offset, broken.value, last.offset, last.value) == (1, made, 2, b"behind")
    assert broken.undecodable == "offset 1: its batch holds more than 64 MiB once decompressed"
    assert peak < 2.5 * MAX_BATCH_BYTES


def test_no_batch_is_decompressed_behind_the_messages_that_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a fetch holds many batches, and any of them may be a bomb: each costs its time once."""
    opened: list[bytes] = []

    def counted(content: bytes) -> bytes:
        opened.append(content)
        return gunzip(content)

    monkeypatch.setitem(CODECS, 1, ("gzip", counted))
    data = b"".join(at(10 * n, batch((None, b"x" * 1000, ()), codec=1)) for n in range(5))
    decoded = decode(HOME, data, 0, enough=2)
    assert ([each.offset for each in decoded.messages], decoded.next_offset) == ([0, 10], 11)
    assert len(opened) == 2


@pytest.mark.parametrize("codec", CODECS)
def test_content_of_a_codec_that_is_cut_off_is_told_apart_from_one_that_is_too_large(codec: int) -> None:
    whole = batch(*((b"k", b"%d" % number * 50, ()) for number in range(50)), codec=codec)
    cut = bytearray(whole[:-9])
    struct.pack_into(">i", cut, 8, len(cut) - 12)
    [broken] = decode(HOME, at(0, checked(cut)), 0).messages
    assert broken.undecodable is not None
    assert "MiB" not in broken.undecodable


def test_a_batch_that_begins_before_the_offset_gives_what_comes_from_it_on() -> None:
    assert seen(at(5, batch(*((None, b"%d" % n, ()) for n in range(4)))), 7) == [(7, b"2", False), (8, b"3", False)]


def test_an_unknown_codec_makes_one_message_of_its_batch() -> None:
    made = at(1, raw_batches.with_an_unknown_codec())
    behind = at(3, batch((None, b"behind", ())))
    decoded = decode(HOME, made + behind, 1)
    broken, last = decoded.messages
    assert (broken.offset, broken.value, last.offset, last.value) == (1, made, 3, b"behind")
    assert broken.undecodable == "offsets 1 to 2: its batch is compressed by codec 7, which is unknown"
    assert decoded.next_offset == 4


def test_a_wrong_checksum_does_not_say_how_far_its_batch_goes() -> None:
    """The number of its offsets may be what is broken: to believe it could pass over messages."""
    made = batch((None, b"x", ()))
    struct.pack_into(">i", made, 23, 1_000_000)
    assert decode(HOME, at(4, made), 4).next_offset == 5
    assert decode(HOME, at(4, made) + at(9, batch((None, b"y", ()))), 4).next_offset == 10


def test_a_length_in_a_record_leaves_its_neighbours_whole() -> None:
    made = at(0, raw_batches.with_a_length_that_leads_out_of_its_record())
    assert [(offset, broken) for offset, _, broken in seen(made)] == [(0, False), (1, True), (2, False)]


def test_a_header_name_that_is_not_utf_8_leaves_all_else_of_its_message() -> None:
    [_, odd, _] = decode(HOME, at(0, raw_batches.with_a_header_name_that_is_not_utf_8()), 0).messages
    assert (odd.key, odd.value, odd.headers) == (b"k", b"odd", (("x-\\xff\\xfe\\xfd", b"1"),))
    assert odd.undecodable is not None


def test_control_records_and_aborted_messages_are_passed_over() -> None:
    def of_producer(base: int, made: bytearray, attributes: int) -> bytes:
        struct.pack_into(">h", made, 21, attributes)
        struct.pack_into(">q", made, 43, 77)
        return at(base, checked(made))

    aborted = of_producer(0, batch((None, b"aborted", ())), 0x10)
    marker = of_producer(1, batch((b"\0\0\0\0", b"", ())), 0x30)
    committed = of_producer(2, batch((None, b"committed", ())), 0x10)
    data = aborted + marker + committed + of_producer(3, batch((b"\0\0\0\1", b"", ())), 0x30)
    decoded = decode(HOME, data, 0, [(77, 0)])
    assert [(each.offset, each.value) for each in decoded.messages] == [(2, b"committed")]
    assert decoded.next_offset == 4


def test_a_batch_that_is_cut_off_is_left_to_the_next_fetch() -> None:
    whole, cut = at(0, batch((None, b"0", ()))), at(1, batch((None, b"1", ())))[:-1]
    decoded = decode(HOME, whole + cut, 0)
    assert ([each.value for each in decoded.messages], decoded.next_offset) == ([b"0"], 1)
    assert decode(HOME, cut, 1).next_offset == 2, "alone, it would be fetched for ever"


@settings(max_examples=400, deadline=None)
@given(
    codec=st.integers(0, 4),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    is_checked=st.booleans(),
    start=st.integers(0, 6),
)
def test_whatever_is_broken_each_offset_comes_once_and_reading_goes_on(
    codec: int, changes: list[tuple[int, int]], *, is_checked: bool, start: int
) -> None:
    made = batch(*((b"k", b"value-%d" % n, [("name", b"%d" % n)]) for n in range(4)), codec=codec)
    for place, byte in changes:
        if place < len(made) and not 8 <= place < 12:  # a length of the batch frames what follows
            made[place] = byte
    data = bytes(checked(made) if is_checked else made) + at(4, batch((None, b"behind", ())))
    decoded = decode(HOME, data, start)
    offsets = [message.offset for message in decoded.messages]
    assert offsets == sorted(set(offsets))
    assert all(start <= offset < decoded.next_offset for offset in offsets)
    assert decoded.next_offset > start or not decoded.messages


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300), start=st.integers(0, 2**40))
def test_any_bytes_are_read_without_an_error(data: bytes, start: int) -> None:
    decoded = decode(HOME, data, start)
    assert decoded.next_offset > start or len(data) < 12
