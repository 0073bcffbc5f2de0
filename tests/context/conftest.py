"""How long the campaign of the tenant context takes, and which one it is."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--context-seconds", type=float, default=20.0, help="how long kills and faults go on")
    parser.addoption("--context-seed", type=int, default=16, help="which kills and faults")
