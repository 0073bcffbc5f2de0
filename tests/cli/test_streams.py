"""Do commands end well, as real processes, whatever their terminal is and wherever their output goes?"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FORMS = ("line", "table", "json")
SPOKEN = """
import typer
from cli.command import command
from cli.output import err, open_closed_streams, out, print_json, table

@command
def spoken(forms: list[str], lines: int = 1) -> None:
    for number in range(lines):
        for form in forms:
            if form == "json":
                print_json({"name": "Zo\\u00eb \\u6771 \\u202e"})
            elif form == "table":
                out.print(table("t", ("n",), [("Zo\\u00eb \\u6771 \\u202e",), (None,)]))
            else:
                out.print("Zo\\u00eb \\u6771 \\u202e", style="red")
    err.print("acted")

app = typer.Typer()
app.command()(spoken)
open_closed_streams()
app()
"""
"""A command that prints in each of the three ways, through what every command prints through."""


def run(
    arguments: list[str], after: str = "", env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """`python ARGUMENTS` in a shell, with `after` behind it: redirections and pipes as people write them."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("TENANTRY_", "PYTHON"))}
    return subprocess.run(
        ["bash", "-c", f'"$0" "$@" {after}', sys.executable, *arguments],
        env={**surroundings, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        input=stdin.encode(),
        timeout=120,
        check=False,
    )


def tenantry(
    *arguments: str, after: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return run(["-m", "cli.main", *arguments], after, env)


def spoken(
    *arguments: str, after: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return run(["-c", SPOKEN, *arguments], after, env)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_gets_what_it_can_show(encoding: str) -> None:
    ran = spoken(*FORMS, env={"PYTHONIOENCODING": encoding})
    assert (ran.returncode, ran.stderr) == (0, b"acted\n")
    line, *table, last = ran.stdout.decode(encoding).splitlines()
    for text in (line, "".join(table)):
        assert ("Zoë" in text) == (encoding != "ascii")
        assert ("東" in text) == (encoding == "utf-8")
        assert "\\u202e" in text
        assert ("\\u6771" in text) == (encoding != "utf-8")
    assert last.isprintable()
    assert json.loads(last) == {"name": "Zoë 東 \u202e"}
    assert len({len(each) for each in table[1:]}) == (1 if encoding != "utf-8" else 2), "the table has straight edges"


@pytest.mark.parametrize("form", ["line", "json"])
def test_who_reads_may_go_away_in_the_middle(form: str) -> None:
    ran = spoken(form, "--lines", "3000", after="| head -1; exit ${PIPESTATUS[0]}")
    assert ran.returncode == 141
    assert ran.stderr == b""
    assert len(ran.stdout.splitlines()) == 1


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_full_disk_under_stdout_is_one_line_and_exit_1(form: str) -> None:
    ran = spoken(form, after="> /dev/full")
    assert ran.returncode == 1
    assert ran.stderr.decode() == (
        "error: standard output cannot be written: No space left on device: correct that; the command itself is done\n"
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_as_if_it_were_nowhere(closed: str) -> None:
    ran = spoken(*FORMS, after=closed)
    assert ran.returncode == 0
    assert ran.stderr == (b"" if "2>&-" in closed else b"acted\n")
    assert (ran.stdout == b"") == (" >&-" in f" {closed}")


@pytest.mark.parametrize(
    "after", ["> /dev/full 2>&1", "2> /dev/full", ">&- 2>&-", "2>&1 | true; exit ${PIPESTATUS[0]}"]
)
def test_an_error_that_nobody_can_read_keeps_its_exit_code(after: str) -> None:
    ran = tenantry("status", "--data-dir", "nowhere", after=after)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "after", "code"),
    [
        (["status", "--data-dir", "nowhere"], ">&-", 2),
        (["nonsense"], "2>&-", 2),
        (["-h"], ">&-", 0),
        (["-h"], "> /dev/full", 1),
        (["-h"], "| true; exit ${PIPESTATUS[0]}", 1),
        (["publish", "-", "--data-dir", "nowhere"], "<&-", 2),
        (["runs", "retry", "-", "--reason", "r", "--data-dir", "nowhere"], "<&-", 2),
    ],
)
def test_no_command_ends_in_a_traceback_for_its_streams(arguments: list[str], after: str, code: int) -> None:
    ran = tenantry(*arguments, after=after, env={"PYTHONIOENCODING": "ascii"})
    assert ran.returncode == code
    assert b"Traceback" not in ran.stderr
    assert b"Exception ignored" not in ran.stderr


def test_on_a_terminal_without_colours_no_escape_sequence_is_sent() -> None:
    def on_a_terminal(**env: str) -> bytes:
        ours, theirs = pty.openpty()
        surroundings = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        code = (
            "from cli.output import complain, out\nfrom runtime.telemetry import configure_logging\nimport structlog\n"
            "complain('no')\nout.print('x', style='red')\nconfigure_logging()\n"
            "structlog.get_logger('x').warning('w\\u202e', reason='a\\x1b[2J\\nforged')\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code],
            env={**surroundings, "PYTHONPATH": str(ROOT), "TERM": "xterm", **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            assert process.wait(60) == 0
        os.close(theirs)
        said = os.read(ours, 65536)
        os.close(ours)
        return said

    coloured = on_a_terminal()
    assert b"\x1b[31m" in coloured
    assert b"\x1b[2J" not in coloured
    assert b"\nforged" not in coloured
    plain = on_a_terminal(NO_COLOR="1")
    assert b"\x1b" not in plain
    assert b"error: no" in plain
