"""Pages: each relative link leads to a file of this tree, each command that they show exists with its options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli.commands import COMMANDS, LoadedCommands

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
_LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)\s]*)?\)")
_COMMAND = re.compile(r"(?:`|\$ |^    |bin/)tenantry ([a-z][a-z-]*(?: [a-z][a-z-]*)*)([^`|\"\n]*)", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def test_every_relative_link_of_a_page_leads_somewhere() -> None:
    links = [(page, target) for page in PAGES for target in _LINK.findall(page.read_text())]
    assert len(links) > 100, "the pattern finds no links any more"
    assert [(str(page.relative_to(ROOT)), to) for page, to in links if not (page.parent / to).exists()] == []


def test_every_command_of_a_page_exists_with_its_options() -> None:
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]
    named = [(page.relative_to(ROOT), *each) for page in pages for each in _COMMAND.findall(page.read_text())]
    assert len(named) > 200, "the pattern finds no commands any more"
    assert [(str(page), words, wrong) for page, words, rest in named for wrong in _wrong(words.split(), rest)] == []


def _wrong(words: list[str], rest: str) -> Iterator[str]:
    """What of a command line is not there: its command, or one of its options."""
    if words[0] not in COMMANDS:
        yield words[0]
        return
    command: Any = LoadedCommands()[words[0]]
    for word in words[1:]:
        if (of_group := getattr(command, "commands", None)) is None:
            break
        if word not in of_group and words[0] != "credentials":  # where it may be a tenant
            yield word
            return
        command = of_group.get(word, command)
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    yield from (option for option in _OPTION.findall(rest.partition("&&")[0]) if option not in known)
