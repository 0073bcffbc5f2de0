"""How many messages are told, and from which seed?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=20_000, help="how many fuzzed messages are told")
    parser.addoption("--fuzz-seed", type=int, default=1, help="the seed that tells them")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Short: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        yield Path(directory) / "data"


@pytest.fixture(scope="session")
def unguarded() -> Iterator[dict[str, str]]:
    """Without a guard over what is destroyed: it would only wait for an operator."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        policy = Path(directory) / "policy.toml"
        default = files("domain").joinpath("policy.toml").read_text()
        policy.write_text(default.replace("at_least = 5", "at_least = 100000"))
        yield {"TENANTRY_POLICY_FILE": str(policy)}
