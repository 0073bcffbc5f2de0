"""Do commands end well, as real processes, whatever their terminal is and wherever their output goes?"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SPOKEN = (
    "import sys, time\n"
    "from cli.output import out, err, print_json, command, table, open_closed_streams, complain\n"
    "import typer\n"
    "app = typer.Typer()\n"
    "@app.command()\n"
    "@command\n"
    "def spoken(form: str, lines: int = 1) -> None:\n"
    "    for number in range(lines):\n"
    "        if form == 'json': print_json({'name': 'Zo\\u00eb \\u6771 \\u202e', 'number': number})\n"
    "        elif form == 'table': out.print(table('\\u2013', ('n',), [('Zo\\u00eb \\u6771 \\u202e',), (None,)]))\n"
    "        else: out.print('Zo\\u00eb \\u6771 \\u202e', style='red')\n"
    "    err.print('acted')\n"
)


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
    """A command of three ways to print, through what every command prints through."""
    code = SPOKEN + "open_closed_streams()\napp()\n"
    return run(["-c", code, *arguments], after, env)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("form", ["line", "table", "json"])
def test_a_terminal_of_any_encoding_gets_what_it_can_show(form: str, encoding: str) -> None:
    ran = spoken(form, env={"PYTHONIOENCODING": encoding})
    assert (ran.returncode, ran.stderr) == (0, b"acted\n")
    text = ran.stdout.decode(encoding)
    assert ("Zoë" in text) == (encoding != "ascii")
    assert ("東" in text) == (encoding == "utf-8")
    assert "\\u202e" in text
    assert ("\\u6771" in text) == (encoding != "utf-8")


@pytest.mark.parametrize("form", ["line", "table", "json"])
def test_who_reads_may_go_away_in_the_middle(form: str) -> None:
    ran = spoken(form, "--lines", "3000", after="| head -1; exit ${PIPESTATUS[0]}")
    assert ran.returncode == 141
    assert ran.stderr == b""
    assert len(ran.stdout.splitlines()) == 1


@pytest.mark.parametrize("form", ["line", "table", "json"])
def test_a_full_disk_under_stdout_is_one_line_and_exit_1(form: str) -> None:
    ran = spoken(form, after="> /dev/full")
    assert ran.returncode == 1
    assert ran.stderr.decode() == (
        "error: standard output cannot be written: No space left on device: mend that; what the command did is done\n"
    )


@pytest.mark.parametrize("form", ["line", "table", "json"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_as_if_it_were_nowhere(form: str, closed: str) -> None:
    ran = spoken(form, after=closed)
    assert ran.returncode == 0
    assert b"Traceback" not in ran.stderr
    assert (ran.stdout == b"") == (">&-" in closed.replace("2>&-", ""))


@pytest.mark.parametrize(
    "after", ["> /dev/full 2>&1", "2> /dev/full", ">&- 2>&-", "2>&1 | true; exit ${PIPESTATUS[0]}"]
)
def test_an_error_that_nobody_can_read_keeps_its_exit_code(after: str) -> None:
    ran = tenantry("status", "--data-dir", "nowhere", after=after)
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, b"", b"")


@pytest.mark.parametrize("arguments", [["status", "--data-dir", "nowhere"], ["nonsense"], ["-h"], ["publish", "-"]])
@pytest.mark.parametrize("after", [">&-", "<&-", "2>&-", "| true; exit ${PIPESTATUS[0]}", "> /dev/full"])
def test_no_command_ends_in_a_traceback_for_its_streams(arguments: list[str], after: str) -> None:
    ran = tenantry(*arguments, after=after, env={"PYTHONIOENCODING": "ascii"})
    assert ran.returncode in ((0, 1, 141) if arguments == ["-h"] else (2,))
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
