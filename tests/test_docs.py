"""Links of the pages: each that is relative leads to a file of this tree."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
_LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)\s]*)?\)")


def test_every_relative_link_of_a_page_leads_somewhere() -> None:
    links = [(page, target) for page in PAGES for target in _LINK.findall(page.read_text())]
    assert len(links) > 100, "the pattern finds no links any more"
    assert [(str(page.relative_to(ROOT)), to) for page, to in links if not (page.parent / to).exists()] == []
