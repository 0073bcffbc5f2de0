"""A million tenants of two products each, as documents, as a snapshot, and as a sidecar's directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

from tenantry_client.context.document import Placement, Product, TenantContext, encode
from tenantry_client.context.store import StoreWriter
from tenantry_client.context.wire import (
    CHUNK,
    FORMAT,
    Changes,
    Hello,
    HostChange,
    TenantChange,
    read_snapshot,
    write_snapshot,
)

POSITION: Final = 10**9
FEATURES: Final = ("automation", "archiving", "sandbox", "audit-log", "unlimited-storage")


def tenant_id(number: int) -> str:
    """In the order of their numbers, as bytes too."""
    return str(UUID(int=(number << 64) | 0x8000_0000_0000_0000))


def host(number: int) -> str:
    return f"site-{number:07d}.tenantry.example"


def document(number: int) -> TenantContext:
    """A tenant with two products, as the projection makes it."""
    name = f"site-{number:07d}"
    role = f"tnt_{number:07d}_1"
    return TenantContext(
        tenant_id=tenant_id(number),
        customer_id=str(UUID(int=number << 64)),
        site_name=name,
        host=host(number),
        lifecycle="active",
        access="open",
        version=number + 1,
        products={
            "jira-software": Product("open", "jira", "premium", 250, FEATURES, 1.9e9, {"theme": "dark"}, f"{role}_jsw"),
            "confluence": Product("open", "confluence", "standard", 100, FEATURES[:3], None, {}, f"{role}_conf"),
        },
        placements={
            family: Placement("eu-west", "eu-west-1", "10.0.0.1:5432", f"shard_{number % 100}", f"{name}_{family}_1")
            for family in ("jira", "confluence")
        },
    )


def chunks(tenants: int) -> Iterator[Changes]:
    for at in range(0, tenants, CHUNK):
        numbers = range(at, min(at + CHUNK, tenants))
        changes = [TenantChange(tenant_id(each), each + 1, encode(document(each))) for each in numbers]
        yield Changes(
            POSITION, POSITION, changes, [HostChange(host(each), tenant_id(each), each + 1) for each in numbers]
        )


def write_file(path: Path, tenants: int) -> int:
    """A snapshot of so many tenants; its size in bytes."""
    with path.open("wb") as file:
        for piece in write_snapshot(Hello("bench", 0, FORMAT, POSITION), chunks(tenants)):
            file.write(piece)
        return file.tell()


def load_file(store: StoreWriter, path: Path) -> None:
    """As a sidecar does with what a service sends."""
    with path.open("rb") as file:
        store.switch(store.load(read_snapshot(iter(lambda: file.read(65536), b""))))
