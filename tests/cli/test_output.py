"""Does every way in which a command prints show foreign text, and nothing else that it could do to a terminal?

Commands print through `Terminal` alone (tests/test_architecture.py): what holds of it for all texts holds of them. The
functions of the commands that make lines and tables of their data are tried with all texts besides.
"""

# ruff: noqa: SLF001 - the functions by which commands make lines of their data are tried one by one

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from application.drift_detection import Mended, Sweep
from application.orphan_removal import OrphanPlan
from application.progress import Progress
from cli import acts, orphans, plans, reconcile, runs, show
from cli import history as histories
from cli.output import (
    Report,
    Styled,
    Table,
    Terminal,
    complain,
    err,
    out,
    print_json,
    print_line,
    render,
    show_traceback,
    table,
    warn,
)
from cli.progress import Bars, bars, progress
from domain.drift import Thing
from domain.event import Cause
from domain.tenant import approval as guard
from history.acts import RecordedAct
from history.story import Line
from history.timeline import TimelineEntry
from projections import PROJECTIONS
from runtime.foreign_text import visible

MARKUP = [
    ":bank:",
    r"\[/x]",
    "[/]",
    "[red]",
    "[link=https://x.example]",
    "[@click=app.quit]",
    "\\",
    "[[",
    "\x1b]8;;",
    "\n",
    "{0}",
    "%s",
]
TEXTS = st.lists(st.sampled_from(MARKUP) | st.text(st.characters(), max_size=12), max_size=4).map("".join)
ENCODINGS = st.sampled_from(["utf-8", "ascii", "latin-1"])
NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Screen(io.TextIOWrapper):
    """A stream in memory with an encoding; strict, so that what it cannot hold is an error."""

    def __init__(self, encoding: str = "utf-8", *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", newline="\n")
        self.is_terminal = terminal

    def isatty(self) -> bool:
        return self.is_terminal

    def shown(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


@contextmanager
def screens(encoding: str = "utf-8", *, terminal: bool = False) -> Iterator[tuple[Screen, Screen]]:
    one, other = Screen(encoding, terminal=terminal), Screen(encoding, terminal=terminal)
    with patch("sys.stdout", one), patch("sys.stderr", other):
        yield one, other


def lines_of(screen: Screen) -> list[str]:
    """Its lines; each of them printable, as none is where a terminal has something to obey."""
    text = screen.shown()
    assert text == "" or text.endswith("\n")
    lines = text.split("\n")[:-1]
    assert all(line.isprintable() for line in lines), ascii(text)
    return lines


# -- the renderer ---------------------------------------------------------------------------------------------------


@given(TEXTS, TEXTS, ENCODINGS)
def test_a_line_of_any_text_is_one_line_and_the_text(first: str, second: str, encoding: str) -> None:
    with screens(encoding) as (stdout, stderr):
        out.print(f"{first}: ", Styled(second, "red"), style="bold")
        err.print(first)
        complain(first)
        warn(second)
    # Two parts are escaped one by one: a mark at the beginning of the second does not reach the first.
    assert lines_of(stdout) == [visible(f"{first}: ", encoding) + visible(second, encoding)]
    assert lines_of(stderr) == [
        visible(first, encoding),
        "error:" + visible(f" {first}", encoding),
        "warning:" + visible(f" {second}", encoding),
    ]


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=4), TEXTS, TEXTS, ENCODINGS)
def test_a_table_of_any_text_has_no_line_that_is_not_its_own(
    rows: list[tuple[str, str]], title: str, column: str, encoding: str
) -> None:
    with screens(encoding) as (stdout, _):
        out.print(
            table(f"T{title}", (f"C{column}", "second"), [(first, Styled(second, "dim")) for first, second in rows])
        )
    top, *lines = lines_of(stdout)
    assert top.startswith("T")
    assert all(line[:1] in ("┏", "┃", "┡", "│", "└", "+", "|") for line in lines if not line.startswith("T")) or title
    text = "\n".join(lines)
    for cell in (cell for row in rows for cell in row):
        words = visible(cell, encoding).split()
        assert all(word in text for word in words if len(word) < 20)


@given(TEXTS.map(lambda text: text.encode("utf-8", "replace").decode()), ENCODINGS)
def test_json_on_any_stream_is_the_exact_data(text: str, encoding: str) -> None:
    with screens(encoding) as (stdout, _):
        print_json({text: [text, NOW]})
    [line] = lines_of(stdout)
    assert json.loads(line) == {text: [text, NOW.isoformat()]}


def test_an_emoji_code_and_markup_in_a_cell_stay_what_they_are() -> None:
    with screens() as (stdout, _):
        out.print(table("[b]t[/]", (":bank:",), [(r"site:\[/x]:bank:[red]",)]))
    assert [line.strip("┏━┓┃┡╇╈┩│└─┘ ") for line in lines_of(stdout)] == [
        "[b]t[/]",
        "",
        ":bank:",
        "",
        r"site:\[/x]:bank:[red]",
        "",
    ]


def test_on_a_terminal_only_our_own_colours_are_escape_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with screens(terminal=True) as (stdout, _):
        Terminal("stdout").print("a\x1b[2J", Styled("b\x1b]0;c", "red"))
    assert stdout.shown() == "a\\x1b[2J\x1b[31mb\\x1b]0;c\x1b[0m\n"


def test_no_color_takes_the_colours_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    with screens(terminal=True) as (stdout, _):
        Terminal("stdout").print("a", Styled("b", "red"))
    assert stdout.shown() == "ab\n"


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=25)
@given(TEXTS)
def test_a_progress_bar_shows_any_text(text: str) -> None:
    with screens(terminal=True) as (stdout, stderr):
        with progress(text) as say:
            say(Progress(1, 2, 1, doing=text))
        with bars() as draw:
            draw(Bars(text, [(text, 1, 2)], (text, text)))
    for screen in (stdout, stderr):
        shown = screen.shown()
        for forbidden in ("\x9b", "\u202e", "\u200b", "\x1b]", "\x07", "\ud800"):
            assert forbidden not in shown


@given(TEXTS, ENCODINGS)
def test_a_traceback_shows_any_text(text: str, encoding: str) -> None:
    with screens(encoding) as (_, stderr):
        show_traceback(ValueError, ValueError(text), None)
    assert lines_of(stderr)[0].startswith("ValueError")


# -- lines and tables of the commands -------------------------------------------------------------------------------


@st.composite
def values(draw: st.DrawFn) -> dict[str, object]:
    """A row of a read model, or of what was told of a scope."""
    names = draw(st.lists(TEXTS, min_size=1, max_size=3, unique=True))
    return {
        name: draw(TEXTS | st.none() | st.lists(TEXTS, max_size=2) | st.dictionaries(TEXTS, TEXTS, max_size=2))
        for name in names
    }


def told(text: str, row: dict[str, object]) -> dict[str, object]:
    """What `show` prints, with the text wherever something comes from outside."""
    step = {"state": text}
    scope = {"level": text, "state": text, "reason": text, "data_lost": True, "steps": [step] * 7}
    product = {"desired": text, "presence": {"value": text, "revision": 1}, "access": None, "license": None}
    models: dict[str, object] = {projection.name: [row] for projection in PROJECTIONS}
    return {
        "tenant_id": text,
        "desired_state": {
            "tenant": {
                "attributes": {"value": {"site_name": text}},
                "destroyed": False,
                "awaiting_approval": [{"change": text}],
            },
            "products": {text: product},
        },
        "actual": {"site": scope, "families": {text: scope}, "products": {text: scope}},
        **models,
    }


@settings(deadline=None, max_examples=60)
@given(TEXTS, values(), ENCODINGS)
def test_show_prints_a_tenant_of_any_text(text: str, row: dict[str, object], encoding: str) -> None:
    with screens(encoding) as (stdout, _):
        for each in show.tables_of(told(text, row)):
            assert isinstance(each, Table)
            out.print(each)
    assert lines_of(stdout)


@settings(deadline=None, max_examples=60)
@given(TEXTS, ENCODINGS)
def test_lines_about_what_happened_show_any_text_in_one_line_each(text: str, encoding: str) -> None:
    act = RecordedAct(
        7, NOW, text, text, text, text, text, text, text, text, text, text, text, {text: text, "products": [text]}
    )
    entry = TimelineEntry(text, NOW, "came", text, text, text, stream=text)
    line = Line(NOW, text, 1, 7, text, None, text, Cause(kind="operator", source="a@b", id="1"), {})
    with screens(encoding) as (stdout, _):
        out.print(*acts._line(act))
        out.print(*histories._line(entry))
        out.print(*runs._sentence(line))
    assert len(lines_of(stdout)) == 3
    assert all(line.lstrip().startswith("2026-06-01") for line in lines_of(stdout))


@settings(deadline=None, max_examples=60)
@given(TEXTS, ENCODINGS)
def test_plans_orphans_and_sweeps_show_any_text_in_lines_of_their_own(text: str, encoding: str) -> None:
    things = (Thing(text, "role", text),)
    found = OrphanPlan(things, 0, frozenset(things), frozenset(things), {text: text}, (text,), 7)
    change = guard.Change(text, 1, text, text, 1, text, text, text, ((text, "open", "closed"),), text)
    sweep = Sweep(unreachable={text: text}, suspicious=(text,))
    with screens(encoding) as (stdout, _):
        for line in (*orphans._plan(found), *reconcile._text(sweep, Mended())):
            print_line(line)
    assert len(lines_of(stdout)) == 6
    with screens(encoding) as (stdout, _), patch.object(guard.Plan, "hash", "feed"):
        render(Report(text=plans._plan(guard.Plan((change,), {}, {}))), as_json=False)
    assert lines_of(stdout)[0].rstrip() == "plan feed: 1 changes await approval"


def test_a_report_is_one_json_value_for_programs_and_its_text_is_not_made_for_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render(Report({"tenants": 2}, (str(1 / tenants) for tenants in (0,))), as_json=True)
    assert capsys.readouterr().out == '{"tenants": 2}\n'
    render(Report({"tenants": 2}, ["2 tenants"]), as_json=False)
    assert capsys.readouterr().out == "2 tenants\n"
