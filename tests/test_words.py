"""Words of the product: identifiers, modules and tables bear the terms of the glossary, and none of the words before.

An old word that is left is the name of something stored (`STORED`). A class name stands for one class of the product.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

_ROOMS = (
    "access adapters application audit benchmarks cli clients console context demo domain examples history projections"
    " runtime workers"
)

_OLD_WORDS = """
    wanted wish wishes estate ground grounds lived born undoing held room rooms unseal unsealed lane lanes crowd crowded
    wake wakes woken condemned spared stranger strangers silent restless told said nursery regrowing endings fact facts
"""
"""docs/reference/glossary.md has the terms that took their place."""

OLD_WORDS = frozenset(_OLD_WORDS.split())

_OLD_PROSE = re.compile(r"\b(whoever|wish|wishes|estate|condemned|given up|undoing|undid|strangers?)\b", re.IGNORECASE)

STORED = frozenset(
    {
        "guarded_facts",  # a table
        "held_by_guard",  # a table
        "wakes",  # a table
    }
)
"""Names of what is stored: they stay, because what is stored is never rewritten."""


def test_no_identifier_or_module_bears_an_old_word() -> None:
    new = {f"{name} ({where})" for name, where in _names() if _is_old(name) and name not in STORED}

    assert not new, "docs/reference/glossary.md has the terms for these names"


def test_no_table_bears_an_old_word() -> None:
    tables = set(_tables())

    assert {"stored_events", "provisionings"} <= tables
    assert not {table for table in tables if _is_old(table)} - STORED


def test_no_docstring_bears_an_old_word() -> None:
    found = {f"{where}: {match}" for text, where in _docstrings() for match in _OLD_PROSE.findall(text)}

    assert not found, "docs/reference/glossary.md has the terms for these words"


@pytest.mark.parametrize("text", ["The saga's wish.", "It was given up.", "Whoever asks", "undoing it", "the estate"])
def test_an_old_word_is_found_in_prose(text: str) -> None:
    assert _OLD_PROSE.search(text)


def test_every_exception_is_still_needed() -> None:
    names = {name for name, _ in _names()} | set(_tables())

    assert not STORED - names, "these names are gone: delete their lines"


def test_no_name_stands_for_two_classes() -> None:
    """Of the engine: the client is a distribution of its own, and the demo's oracle is written apart from it."""
    classes: dict[str, set[str]] = {}
    for room in set(_ROOMS.split()) - {"benchmarks", "clients", "demo", "examples"}:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    classes.setdefault(node.name, set()).add(str(path.relative_to(ROOT)))

    assert not {name: sorted(files) for name, files in classes.items() if len(files) > 1}


@pytest.mark.parametrize("name", ["told", "_held_of", "ClosingHeld", "has_room", "wakes", "HTTPLane"])
def test_an_old_word_is_found_in_a_name(name: str) -> None:
    assert _is_old(name)


@pytest.mark.parametrize("name", ["factory", "withheld", "roommate", "HoldScope", "awake"])
def test_a_word_that_only_holds_an_old_one_is_not_found(name: str) -> None:
    assert not _is_old(name)


def _is_old(name: str) -> bool:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return any(word.lower() in OLD_WORDS for word in words)


def _names() -> Iterator[tuple[str, str]]:
    """Every identifier and every module of the product, with the file that bears it."""
    for room in _ROOMS.split():
        for path in sorted((ROOT / room).rglob("*.py")):
            where = str(path.relative_to(ROOT))
            yield path.stem, where
            for node in ast.walk(ast.parse(path.read_text())):
                yield from ((name, where) for name in _names_at(node))


def _docstrings() -> Iterator[tuple[str, str]]:
    """Every text that stands by itself in the product: docstrings of modules, classes, functions and constants."""
    for room in _ROOMS.split():
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Expr)
                    and isinstance(node.value, ast.Constant)
                    and isinstance(node.value.value, str)
                ):
                    yield node.value.value, f"{path.relative_to(ROOT)}:{node.lineno}"


def _names_at(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.MatchAs(name=str(name)):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.keyword(arg=str(name)):
            return [name]
        case ast.alias(name=name, asname=asname):
            return [*name.split("."), *([asname] if asname else [])]
        case ast.ImportFrom(module=str(name)):
            return name.split(".")
        case ast.MatchClass(kwd_attrs=names):
            return names
        case _:
            return []


def _tables() -> Iterator[str]:
    """The tables that migrations create, and those that read models declare."""
    created = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)|\bTable\(\s*\"(\w+)\"|create_table\(\s*\"(\w+)\"")
    for room in ("alembic", "projections"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for names in created.findall(path.read_text()):
                yield from filter(None, names)
