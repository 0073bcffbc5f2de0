"""Is the reference of the settings true?"""

from __future__ import annotations

from pathlib import Path

from runtime import settings_reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


def test_the_page_says_what_the_settings_say() -> None:
    assert PAGE.read_text() == settings_reference.text(), "run `make schemas`"
