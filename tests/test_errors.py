"""Are errors codes with data, whose sentences are rendered at the edge alone?"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest

from application.problem_texts import TEXTS, sentence
from cli import error_reference
from domain.errors import Code, Obstacle, Problem, Unavailable, UsageError, problem
from domain.problem_text import LISTED, OUTER_TEXTS

ROOT = Path(__file__).parent.parent
OUTER = ("adapters", "audit", "cli", "console", "history", "runtime", "workers")
ROOMS = ("domain", "application", "projections", "adapters", "runtime", "workers", "audit", "history", "cli", "console")
COMMAND = re.compile(r"\btenantry [a-z]|\bruns (approve|release|retry|show|list)\b")


def files(*rooms: str) -> Iterator[Path]:
    for room in rooms:
        yield from (path for path in (ROOT / room).rglob("*.py") if path.name != "problem_texts.py")


def texts(source: str) -> Iterator[str]:
    """The text constants of the code; docstrings are for readers of the code, they stay."""
    tree = ast.parse(source)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def commands_in(source: str) -> list[str]:
    return [text for text in texts(source) if COMMAND.search(text)]


@pytest.mark.parametrize(
    "room", ["domain", "application", "projections", "adapters/resources", "adapters/provisioners"]
)
def test_no_text_of_a_room_that_decides_or_writes_events_holds_a_command(room: str) -> None:
    assert {str(path): found for path in files(room) if (found := commands_in(path.read_text()))} == {}


def test_a_command_in_a_sentence_is_found_and_one_in_a_docstring_is_not() -> None:
    assert commands_in('raise UsageError(f"{scope} has failed: `tenantry runs retry {scope}` tries it again")')
    assert commands_in('"""What `tenantry status` asks."""\nx = 1') == []


def test_no_room_raises_a_sentence_as_an_error_of_ours() -> None:
    """The reason of an executor's error (Retryable, Permanent, Obstacle, Fenced) is recorded: it is a sentence."""
    ours = {"UsageError", "Refused", "Malformed", "Contradiction", "TenantryError", "Conflict", "Fault", "Tampered"}
    ours |= {"Unavailable", "UnreadableEvent", "NewerEvent", "PositionLost", "EmbeddedPartFailed"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files("domain", "application", *OUTER)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ours
        for each in node.args
        if isinstance(each, ast.JoinedStr | ast.BinOp) or (isinstance(each, ast.Constant) and " " in str(each.value))
    ]
    assert found == []


def test_every_code_has_a_sentence_and_every_sentence_a_code() -> None:
    assert set(TEXTS) == set(get_args(Code))
    assert not set(TEXTS) & set(OUTER_TEXTS)


def test_a_code_of_an_outer_room_stands_in_one_table() -> None:
    tables = [path.read_text() for path in ROOT.glob("*/problem_texts.py")]
    assert {code for code in OUTER_TEXTS if sum(f'    "{code}": (' in table for table in tables) != 1} == set()


def test_every_code_is_raised_or_shown_somewhere() -> None:
    declaration = re.compile(r"Code = Literal\[.*?^\]", re.DOTALL | re.MULTILINE)
    sources = [declaration.sub("", path.read_text()) for path in files(*ROOMS)]
    assert {*TEXTS, *OUTER_TEXTS} - {text for source in sources for text in texts(source)} == set()


def test_the_data_of_each_problem_is_what_its_sentence_names() -> None:
    for path in files("domain", "application", *OUTER):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "problem":
                code = node.args[0]
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    assert {each.arg for each in node.keywords} == names(code.value), f"{path}: {code.value}"
    assert names("scope-on-hold") == names("scope-on-hold-already") | {"scope"} == {"scope", "by", "reason"}


def names(code: str) -> set[str]:
    templates = "".join({**TEXTS, **OUTER_TEXTS}[code])
    return {name for _, name, _, _ in Formatter().parse(templates) if name}


def test_a_part_without_a_value_is_left_out_and_a_long_list_is_counted() -> None:
    held = problem("scope-on-hold", scope="site:t-1", by=None, reason="moving house")
    assert sentence(held) == "site:t-1 is on hold (moving house): `tenantry runs release site:t-1` lets it go on"
    new = tuple(f"schema {number}" for number in range(LISTED + 3))
    changed = sentence(UsageError(problem("orphan-plan-changed", plan="p", unseen=(), gone=(), new=new)))
    assert changed.startswith("what is there is not plan p any more; new: schema 0, schema 1")
    assert "schema 9 and 3 more: read the list" in changed
    assert "not looked at" not in changed


def test_a_value_is_never_read_as_a_template() -> None:
    assert sentence(problem("not-active", product="{tenant}%")) == "product {tenant}% is not active: activate it first"


def test_a_count_of_zero_is_told() -> None:
    assert "0 destroys" in sentence(problem("guard-tripped", destroys=0, closings=None))


def test_an_error_without_a_problem_says_its_own_text() -> None:
    assert sentence(Obstacle("room:eu", "no room in region eu")) == "no room in region eu"
    assert sentence(ValueError("no")) == "no"


def test_a_problem_as_text_is_its_code_with_its_data_for_logs() -> None:
    assert str(UsageError(Problem("scope-failed", {"scope": "site:t-1"}))) == "scope-failed, scope=site:t-1"


def test_a_problem_of_an_outer_room_as_text_is_its_sentence() -> None:
    error = Unavailable(problem("topic-missing", name="tenantry.lifecycle"))
    assert str(error) == sentence(error) == "topic tenantry.lifecycle is not there: run `tenantry migrate`"
    assert error.problem == Problem("topic-missing", {"name": "tenantry.lifecycle"})


def test_the_reference_of_errors_is_what_the_texts_say() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert page == error_reference.text(), "run `make schemas`"
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(TEXTS) + len(OUTER_TEXTS)
    assert all(cause.strip() and remedy.strip(" |") for _, cause, remedy in rows)
