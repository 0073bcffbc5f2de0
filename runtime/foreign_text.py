"""Foreign text: how characters from outside are shown, in the one place that all output goes through.

An id, a reason or an error's message may hold what a terminal obeys: escape sequences, newlines that forge a line,
controls that turn the direction of writing, invisible characters. `visible` shows each of them as its escape
(`\\n`, `\\x1b`, `\\u202e`) and leaves all others as they are: its result is one line of printable text. Text without
such characters comes back unchanged, and applying `visible` twice is the same as once. It is a view, not a coding: the
exact data is what `--json` prints.

    tables, lines, errors, progress bars (cli/output.py) ──┐
    log lines as text (runtime/telemetry.py) ──────────────┴▶ visible ──▶ terminal
    one JSON value (cli/output.py) ─────────────────────────▶ json_text ──▶ program

What stays: letters that are written from right to left turn the neighbours of a text by themselves, and letters of two
alphabets can look the same.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final

_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0000-\U000e0fff]"
)
"""Printable by their category, but nothing is seen of them (the Unicode property Default_Ignorable, and blanks)."""

_MARKS: Final = 4
"""Combining marks on one character: more of them grow over the lines above and below."""


def visible(text: str, encoding: str = "utf-8") -> str:
    """`text` as one line of printable characters that `encoding` has; all others as their escapes."""
    if text.isascii() and text.isprintable():
        return text
    shown = "".join(_shown(text))
    return shown if shown.isascii() else shown.encode(encoding, "backslashreplace").decode(encoding)


def json_text(value: object, *, encoding: str = "utf-8", default: Callable[[object], object] = str) -> str:
    """`value` as one line of JSON. What `visible` would show as an escape is one of JSON's own: the data is exact."""
    if not encoding.lower().startswith("utf"):
        return json.dumps(value, default=default).replace("\x7f", "\\u007f")
    text = json.dumps(value, default=default, ensure_ascii=False)
    if text.isascii() and text.isprintable():
        return text
    # Outside its strings JSON has only ASCII, none of it unprintable.
    return "".join(character if _is_plain(character) else _json_escape(character) for character in text)


def _shown(text: str) -> Iterator[str]:
    marks = _MARKS  # at the beginning, after a blank and after an escape there is nothing for a mark to stand on
    for character in text:
        if not _is_plain(character):
            marks = _MARKS
            yield character.encode("unicode_escape").decode("ascii")
        elif not character.isascii() and unicodedata.category(character) in ("Mn", "Me"):
            marks += 1
            yield character if marks <= _MARKS else character.encode("unicode_escape").decode("ascii")
        else:
            marks = _MARKS if character == " " else 0
            yield character


def _is_plain(character: str) -> bool:
    """Printable and to be seen. Of the blanks only the usual one is."""
    return character.isprintable() and not _INVISIBLE.match(character)


def _json_escape(character: str) -> str:
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
