"""The tutorial on your application, followed word by word: two tenants on two shards, one of them suspended live."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tenantry_client.context.lease import lease_path
from tests.journeys.lesson import Lesson, agree
from tests.journeys.running import ROOT

PAGE = ROOT / "docs/tutorial/your-application.md"
DIRECTORY = Path("/tmp/your-application")  # noqa: S108 - the page names it


@pytest.mark.lesson
@pytest.mark.timeout(600)
@pytest.mark.skipif(not (shutil.which("node") and shutil.which("curl")), reason="the page needs Node.js and curl")
def test_the_tutorial_on_your_application_shows_what_its_commands_print() -> None:
    with tempfile.TemporaryDirectory(prefix="lesson-") as folder:
        try:
            told = list(Lesson(Path(folder)).tell(PAGE.read_text()))
        finally:
            shutil.rmtree(DIRECTORY, ignore_errors=True)
            lease_path(DIRECTORY).unlink(missing_ok=True)
    wrong = [
        "\n".join((f"$ {step.command}", *step.shown, "-- and this was printed:", printed))
        for step, printed in told
        if not agree(step.shown, printed)
    ]
    assert not wrong, "\n".join(wrong)
