"""Does a lesson show what its commands print?

A lesson is a page of docs/ whose indented blocks hold commands, after `$`, and what they print. They are run one after
the other in one folder, and what was printed is held against what is shown:

    …              alone in a line: any lines; within one: any text
    ^C             the command goes on beside those that follow, and is interrupted at the end of the lesson
    NAME=value     holds for the commands that follow, as `export NAME=value` does
    anything else  as it is shown, but for numbers, times, ids and hashes: any will do, since no two runs have the same

What came in place of a number that is shown takes its place in the commands that follow, so that a lesson may say
"look at position 2717". To see a page with the numbers of a run here, and where they do not agree:

    python -m tests.journeys.lesson docs/tutorial/history.md /tmp/an-empty-folder > here.md
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.journeys.running import environment, wait_for

SECONDS: Final = 180
"""For one command. The first of them is a whole demo."""

_KINDS: Final = {
    "id": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "time": r"\d{4}-\d\d-\d\d[ T][\d:.]+\d",
    "hash": r"[A-Za-z0-9+/]{43,}=*",
    "number": r"\d(?:[\d,.]*\d)?",
}
_VARYING: Final = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items()))
_SETTING: Final = re.compile(r"(export )?(\w+=\S+ ?)+")
_INTERRUPTIBLE: Final = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    " os.execvp('bash', ['bash', '-c', sys.argv[1]])"
)
"""Ctrl-C reaches a command even where the tests run in the background, where shells let it be ignored."""

_OWN: Final = re.compile(r"\d|.*[.,].*\d")
"""Numbers that stay in commands as they are: `--seed 7`, `"specversion":"1.0"`."""


@dataclass(slots=True)
class Step:
    """A command, in which line it stands, and the lines that follow it: what the lesson shows of what it prints."""

    at: int
    command: str
    shown: list[str] = field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        return self.shown[-1:] == ["^C"]


def steps(page: str) -> list[Step]:
    """The commands of a page with what it shows; text between the blocks is left out."""
    found: list[Step] = []
    inside, blank = False, 0
    for at, line in enumerate(page.splitlines()):
        if line.startswith("    $ "):
            found.append(Step(at, line.removeprefix("    $ ")))
            inside, blank = True, 0
        elif not line.strip():
            blank += 1
        elif line.startswith("    ") and inside:
            found[-1].shown += [""] * blank + [line.removeprefix("    ")]
            blank = 0
        else:
            inside = False
    return found


class Lesson:
    """Tells a page's commands in a folder, with no settings of this machine but where `tenantry` is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {**environment({}), "PATH": path, "COLUMNS": "200"}
        self._known: dict[str, str] = {}

    def tell(self, page: str) -> Iterator[tuple[Step, str]]:
        """Each step, with what its command printed; those that go on come last."""
        beside: list[tuple[Step, subprocess.Popen[bytes], Path]] = []
        try:
            for number, step in enumerate(steps(page)):
                command = self.as_it_is_here(step.command)
                if _SETTING.fullmatch(command):
                    self._set(command)
                elif step.goes_on:
                    beside.append((step, *self._begin(command, self._folder / f"beside-{number}.txt")))
                else:
                    printed = self._run(command)
                    self._learn(step, printed)
                    yield step, printed
            for step, process, file in reversed(beside):
                os.killpg(process.pid, signal.SIGINT)
                process.wait(SECONDS)
                yield step, file.read_text() + "^C\n"
        finally:
            for _, process, _ in beside:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def as_it_is_here(self, command: str) -> str:
        """The command with what came in place of the numbers that the lesson showed before."""

        def here(found: re.Match[str]) -> str:
            own = found.lastgroup == "number" and _OWN.fullmatch(found[0])
            return found[0] if own else self._known.get(found[0], found[0])

        return _VARYING.sub(here, command)

    def _set(self, command: str) -> None:
        told = self._run(f"set -a; {command}; env -0")
        self._environment = dict(each.split("=", 1) for each in told.split("\0") if "=" in each)

    def _run(self, command: str) -> str:
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return ran.stdout

    def _begin(self, command: str, file: Path) -> tuple[subprocess.Popen[bytes], Path]:
        """Start it, and wait until it has printed what is there to be seen first: a whole line on stdout."""
        with file.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", _INTERRUPTIBLE, f"exec {command}"],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                start_new_session=True,
            )
        wait_for(lambda: file.read_text().endswith("\n"), command, seconds=SECONDS)
        return process, file

    def _learn(self, step: Step, printed: str) -> None:
        for said, here in pairs(step.shown, printed) or ():
            self._known.setdefault(said, here)


def pairs(shown: list[str], printed: str) -> list[tuple[str, str]] | None:
    """What is shown of all that varies, with what was printed in its place; None where they do not agree."""
    pattern, varying = _pattern(shown)
    found = re.fullmatch(pattern, _plain(printed))
    return None if found is None else list(zip(varying, found.groups(), strict=True))


def agree(shown: list[str], printed: str) -> bool:
    """Whether what was printed is what is shown."""
    return pairs(shown, printed) is not None


def _plain(printed: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in printed.splitlines())


def _pattern(shown: list[str]) -> tuple[str, list[str]]:
    """What is shown as a regular expression, and what of it may vary, one for each group."""
    varying: list[str] = []
    lines = [r"(?:.*\n)*?" if line.strip() == "…" else f"{_line(line, varying)}\n" for line in shown]
    return "".join(lines), varying


def _line(line: str, varying: list[str]) -> str:
    made, at = "", 0
    for found in _VARYING.finditer(line):
        made += _literal(line[at : found.start()]) + f"({_KINDS[str(found.lastgroup)]})"
        varying.append(found[0])
        at = found.end()
    return made + _literal(line[at:])


def _literal(text: str) -> str:
    """Spaces and rules of tables are as wide as what is in them."""
    pieces = re.split(r"( +|[━─]+|…)", text)
    widths = {" ": " +", "━": "━+", "─": "─+", "…": ".*?"}
    return "".join(widths.get(piece[:1], re.escape(piece)) for piece in pieces)


def as_told_here(page: str, folder: Path) -> str:
    """The page with the numbers of a run here; where it does not agree, with all that was printed."""
    lines = page.splitlines()
    lesson = Lesson(folder)
    for step, printed in lesson.tell(page):
        found = pairs(step.shown, printed)
        if found is None:
            lines[step.at] += "".join(f"\n!!! {line}" for line in printed.splitlines())
            continue
        came = iter([here for _, here in found])
        lines[step.at] = f"    $ {lesson.as_it_is_here(step.command)}"
        for at, line in enumerate(step.shown, step.at + 1):
            lines[at] = f"    {_with(came, line)}".rstrip()
    return "\n".join(lines) + "\n"


def _with(came: Iterator[str], line: str) -> str:
    return _VARYING.sub(lambda _: next(came), line)


if __name__ == "__main__":
    sys.stdout.write(as_told_here(Path(sys.argv[1]).read_text(), Path(sys.argv[2])))
