"""Which installations do the cells share, and where is the table of all verdicts?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from rich.console import Console
from rich.table import Table

from tests.outages.cells import Cell
from tests.outages.installation import Installation
from tests.outages.matrix import Verdict, run

JUDGED_EACH: Final = 20
"""Cells that one installation goes through: then its tenants are many."""


class Installations:
    """One at a time: the next one where the cells before have left something behind."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._left = 0
        self._running: Installation | None = None

    def judge(self, cell: Cell, seconds: float) -> Verdict:
        if self._left == 0:
            self.end()
        if self._running is None:
            self._running, self._left = Installation(module=self._module).__enter__(), JUDGED_EACH
        self._left -= 1
        if cell.needs_disk and not self._running.database.mounted:
            pytest.skip("needs a file system of its own, and mount is not allowed here")
        try:
            verdict = run(self._running, cell, seconds)
        except BaseException:
            self.end()
            raise
        if verdict.is_lasting:
            self.end()
        return verdict

    def end(self) -> None:
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--planted", action="store_true", help="with the intake that loses batches: the matrix must fail")


@pytest.fixture(scope="session")
def installations(request: pytest.FixtureRequest) -> Iterator[Installations]:
    planted = request.config.getoption("--planted", default=False)
    made = Installations("tests.outages.planted" if planted else "cli.main")
    yield made
    made.end()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Cell, duration, messages, back after s, status line seen, verdict."""
    rows = [
        row
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, row in getattr(report, "user_properties", ())
        if name == "outage" and report.when == "call"
    ]
    if not rows:
        return
    table = Table("cell", "s", "messages", "back after s", "status line seen", "verdict", title="outages")
    for row in rows:
        table.add_row(*row)
    with Console(width=200) as console:
        console.print(table, markup=False)
