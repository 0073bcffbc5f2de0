"""Which Tenantry do the journeys share?

Starting one costs seconds, so journeys that do no harm to it share it, each with tenants of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from tests.journeys.running import Running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.journey)


@pytest.fixture(scope="session")
def unguarded() -> Iterator[dict[str, str]]:
    """The setting for journeys that destroy more than the guard lets pass."""
    with tempfile.TemporaryDirectory(prefix="journey-") as directory:
        policy = Path(directory) / "policy.toml"
        default = files("domain").joinpath("policy.toml").read_text()
        policy.write_text(default.replace("at_least = 5", "at_least = 100000"))
        yield {"TENANTRY_POLICY_FILE": str(policy)}


@pytest.fixture(scope="package")
def tenantry(unguarded: dict[str, str]) -> Iterator[Running]:
    """The one that journeys share."""
    with (
        tempfile.TemporaryDirectory(prefix="journey-") as directory,
        Running(Path(directory) / "data", unguarded) as running,
    ):
        yield running


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """For a journey that needs a Tenantry of its own, to stop or to kill. Short: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="journey-") as directory:
        yield Path(directory) / "data"
