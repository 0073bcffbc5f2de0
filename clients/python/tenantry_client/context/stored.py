"""The stored form of a document: the same fields by place and not by name, which takes little more than half the bytes.

It never leaves the host: the sidecar writes it, the client of the same host reads it. Fields are only ever added at the
end, with a default, so that sidecar and client need not be of the same release.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tenantry_client.context.document import Placement, Product, TenantContext
from tenantry_client.context.document import decode as decode_document


class StoredPlacement(Placement, frozen=True, array_like=True, gc=False):
    """A placement, by place."""


class StoredProduct(Product, frozen=True, array_like=True, gc=False):
    """A product, by place."""


class StoredContext(TenantContext, frozen=True, array_like=True, gc=False):
    """A document, by place."""

    products: dict[str, StoredProduct] = msgspec.field(default_factory=dict)  # type: ignore[assignment]
    placements: dict[str, StoredPlacement] = msgspec.field(default_factory=dict)  # type: ignore[assignment]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(StoredContext)


def pack(tenant_id: str, version: int, document: bytes) -> bytes:
    """From the form of the wire. A document that cannot be read is stored as halted: it stops nobody else."""
    try:
        context = decode_document(document)
    except msgspec.MsgspecError as error:
        reason = f"the document cannot be read: {error}"
        context = TenantContext(tenant_id, "", "", "", "unknown", "closed", version, halted=reason)
    return _ENCODER.encode(msgspec.convert(context, StoredContext, from_attributes=True))


def unpack(stored: bytes | memoryview) -> TenantContext:
    """As `pack` wrote it. Raises msgspec.ValidationError and msgspec.DecodeError."""
    return _DECODER.decode(stored)


def named(context: TenantContext) -> TenantContext:
    """The same document in the form of the wire, for JSON."""
    fields = msgspec.structs.asdict(context)
    fields["products"] = {name: Product(**msgspec.structs.asdict(each)) for name, each in context.products.items()}
    fields["placements"] = {
        name: Placement(**msgspec.structs.asdict(each)) for name, each in context.placements.items()
    }
    return TenantContext(**fields)
