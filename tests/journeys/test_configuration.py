"""Does a Tenantry that is started elsewhere, without its files, go on with what was adopted?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from tests.journeys.events import created, destroyed, new_tenant, suspended
from tests.journeys.running import Running

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.timeout(300)]

BILLING = """
[products.billing]
name = "Billing"
family = "billing"
[products.billing.editions]
free = ["invoices"]
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path that the server may enter."""
    with tempfile.TemporaryDirectory(prefix="journey-") as directory:
        yield Path(directory)


def test_a_start_in_another_directory_uses_what_was_adopted_and_closes_what_it_does_not_know_itself(
    place: Path,
) -> None:
    catalog = place / "catalog.toml"
    catalog.write_text(files("domain").joinpath("catalog.toml").read_text() + BILLING)
    kept, gone = new_tenant(), new_tenant()
    with Running(place / "data", {"TENANTRY_CATALOG_FILE": str(catalog)}) as tenantry:
        tenantry.send(created(kept, "billing"), created(gone, "billing"))
        for tenant in (kept, gone):
            tenantry.until_level(tenant, "billing", "open")
    with Running(place / "data", {}) as tenantry:
        assert "configuration 1, adopted" in tenantry.cli("config", "show").stdout
        tenantry.send(suspended(kept, "billing"), destroyed(gone))
        for tenant in (kept, gone):
            tenantry.until_level(tenant, "billing", "closed")
            assert not tenantry.json("credentials", tenant, "billing")["may_log_in"]
        assert tenantry.json("quarantine", "list") == []
        assert "each has converged" in tenantry.cli("audit", "scopes").stdout
