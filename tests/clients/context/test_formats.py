"""The formats of the tenant context: what is written is read again, and what is damaged is refused whole."""

from __future__ import annotations

import random

import msgspec
import pytest

from tenantry_client.context.document import Placement, Product, TenantContext, decode, encode, from_json, to_json
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.wire import (
    FORMAT,
    Changes,
    Frame,
    FrameReader,
    Garbled,
    Heartbeat,
    Hello,
    HostChange,
    TenantChange,
    decode_payload,
    read_snapshot,
    write_snapshot,
)
from tenantry_client.context.wire import encode as frame_of


def context(tenant_id: str = "t-1", *, version: int = 7, expires_at: float | None = None) -> TenantContext:
    return TenantContext(
        tenant_id=tenant_id,
        customer_id="c-1",
        site_name="acme",
        host="acme.example",
        lifecycle="active",
        access="open",
        version=version,
        products={"crm": Product("open", "crm", "premium", 10, ("export",), expires_at, {"theme": "dark"}, "r1")},
        placements={"crm": Placement("eu", "eu-1", "db:5432", "d1", "s1")},
    )


def snapshot(tenants: int = 3) -> tuple[Hello, list[Changes], bytes]:
    hello = Hello("log-1", 0, FORMAT, 9)
    names = [f"t-{n}" for n in range(tenants)]
    chunks = [
        Changes(9, 9, [TenantChange(name, 7, encode(context(name)))], [HostChange(f"{name}.example", name, 7)])
        for name in names
    ]
    return hello, chunks, b"".join(write_snapshot(hello, chunks))


def test_a_document_is_read_as_it_was_written_in_both_forms() -> None:
    assert decode(encode(context())) == context()
    assert from_json(to_json(context())) == context()


def test_a_reader_ignores_a_field_of_a_newer_writer() -> None:
    newer = msgspec.msgpack.decode(encode(context())) | {"later": [1, 2]}
    assert decode(msgspec.msgpack.encode(newer)) == context()


def test_a_license_that_has_expired_closes_its_product_by_the_readers_clock() -> None:
    found = context(expires_at=100.0)
    assert found.require(product="crm", feature="export", now=99.9).edition == "premium"
    with pytest.raises(ContextRefused) as refused:
        found.require(product="crm", now=100.0)
    assert (refused.value.code, refused.value.status) == ("product-closed", 403)
    seen, tag = found.seen_at(100.0)
    assert (seen.products["crm"].level, tag) == ("closed", '"7-1"')
    assert found.seen_at(99.9) == (found, '"7"')


@pytest.mark.parametrize(
    ("found", "product", "feature", "code"),
    [
        (msgspec.structs.replace(context(), access="closed"), "crm", None, "tenant-closed"),
        (context(), "wiki", None, "product-closed"),
        (context(), "crm", "import", "feature-not-licensed"),
    ],
)
def test_what_is_not_open_is_refused_by_a_code(
    found: TenantContext, product: str, feature: str | None, code: str
) -> None:
    with pytest.raises(ContextRefused) as refused:
        found.require(product=product, feature=feature)
    assert refused.value.code == code


def test_frames_are_read_whatever_pieces_they_arrive_in() -> None:
    frames: list[Frame] = [
        Hello("log-1", 0, FORMAT, 9),
        Heartbeat(9, 12),
        Changes(12, 13, [TenantChange("t", 13, None)], []),
    ]
    sent = b"".join(map(frame_of, frames))
    for size in (1, 3, 7, len(sent)):
        reader = FrameReader()
        found = [
            decode_payload(payload) for at in range(0, len(sent), size) for payload in reader.feed(sent[at : at + size])
        ]
        assert found == frames
        assert reader.is_empty


def test_a_frame_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(Garbled, match="unknown form"):
        decode_payload(msgspec.msgpack.encode({"type": "later"}))


def test_a_snapshot_is_read_as_it_was_written() -> None:
    hello, chunks, sent = snapshot()
    for size in (1, 5, len(sent)):
        assert list(read_snapshot(sent[at : at + size] for at in range(0, len(sent), size))) == [hello, *chunks]


def test_a_snapshot_that_is_cut_off_anywhere_is_refused() -> None:
    *_, sent = snapshot()
    for length in range(len(sent)):
        with pytest.raises(Garbled):
            list(read_snapshot([sent[:length]]))


def test_a_snapshot_with_a_bit_that_changed_anywhere_is_refused() -> None:
    *_, sent = snapshot()
    chance = random.Random(16)  # noqa: S311 - which bits, is no secret
    for at in range(len(sent)):
        damaged = bytearray(sent)
        damaged[at] ^= 1 << chance.randrange(8)
        with pytest.raises(Garbled):
            list(read_snapshot([bytes(damaged)]))


def test_a_snapshot_that_lacks_a_chunk_or_goes_on_is_refused() -> None:
    hello, chunks, sent = snapshot()
    without = sent.replace(frame_of(chunks[1]), b"")
    for damaged in (without, sent + frame_of(chunks[0]), sent.replace(frame_of(hello), b"")):
        with pytest.raises(Garbled):
            list(read_snapshot([damaged]))
