"""The directory of a sidecar, and its store with three tenants, for the tests of the client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry_client.context.lease import lease_path
from tenantry_client.context.store import StoreWriter
from tests.clients.context.test_store_and_lease import load


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "tenancy"
    lease_path(tmp_path / "tenancy").unlink(missing_ok=True)


@pytest.fixture
def writer(directory: Path) -> Iterator[StoreWriter]:
    store = StoreWriter(directory)
    load(store)
    yield store
    store.close()
