"""The night of docs/tutorial/night.md, followed word by word: a shard dies, scopes fail on it, and are retried.

The page has 200 tenants, as `make test-night` has; NIGHT_TENANTS says how many, and as it comes there are a few.
"""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.journeys.lesson import Lesson, agree
from tests.journeys.running import ROOT

PAGE = ROOT / "docs/tutorial/night.md"
FEW = "12"


@pytest.mark.lesson
@pytest.mark.timeout(900)
def test_the_night_goes_as_its_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHT_TENANTS", os.environ.get("NIGHT_TENANTS", FEW))
    with tempfile.TemporaryDirectory(prefix="night-") as folder:
        Path(folder).chmod(0o711)  # the account of the servers may walk through, and nothing is printed of it
        try:
            told = list(Lesson(Path(folder)).tell(PAGE.read_text()))
        finally:
            with suppress(OSError, ValueError):
                os.kill(int((Path(folder) / "eu-1/cluster/postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
    wrong = [
        "\n".join((f"$ {step.command}", *step.shown, "-- and this was printed:", printed))
        for step, printed in told
        if not agree(step.shown, printed)
    ]
    assert not wrong, "\n".join(wrong)
