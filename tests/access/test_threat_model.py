"""Does the threat model name tests that exist, and one for each of its claims?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "access.md"
DEFINED = {
    name
    for folder in ("access", "clients", "cli", "contracts")
    for file in (ROOT / "tests" / folder).rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
}


def named(page: str) -> list[str]:
    return re.findall(r"`(test_\w+)`", page)


def unproved(page: str) -> list[str]:
    """Rows of its tables whose last column names no test, and no mutant, and no row above."""
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| they")]
    return [row for row in rows if not re.search(r"`test_\w+`|among the mutants \|$|the same \|$", row)]


def test_every_test_that_the_threat_model_names_exists() -> None:
    names = named(PAGE.read_text())
    assert len(names) > 50
    assert set(names) <= DEFINED


def test_every_claim_in_its_tables_names_what_shows_it() -> None:
    assert unproved(PAGE.read_text()) == []


@pytest.mark.parametrize("row", ["| forge a token | refused | |", "| forge a token | refused | the tests |"])
def test_a_claim_without_a_test_would_be_seen(row: str) -> None:
    assert unproved(row) == [row]
