"""Problem texts, as templates: how the data of a problem becomes a sentence, and the tables of the outer rooms.

A template names the data of the problem: `{scope}`. `{by: by %}` is that text with the value in place of `%`, and
nothing where there is no value. The texts are data of the rooms, none is here: `application/problem_texts.py` has those
of the domain and of the application, `problem_texts.py` of each outer room adds its own when the room is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

LISTED: Final = 10
"""The entries of a list that a sentence repeats; it counts the rest."""


class ProblemText(NamedTuple):
    """What is wrong, and what to do; both are templates."""

    cause: str
    remedy: str

    def filled(self, values: Mapping[str, object]) -> ProblemText:
        return ProblemText(self.cause.format_map(values), self.remedy.format_map(values))

    def sentence(self, data: Mapping[str, str | int | tuple[str, ...] | None]) -> str:
        return ": ".join(filter(None, self.filled({name: _Shown(value) for name, value in data.items()})))


@dataclass(frozen=True, slots=True)
class _Shown:
    """A value in a template."""

    value: str | int | tuple[str, ...] | None

    def __format__(self, pattern: str) -> str:
        if self.value is None or self.value == ():
            return ""
        shown = str(self.value)
        if isinstance(self.value, tuple):
            more = len(self.value) - LISTED
            shown = ", ".join(self.value[:LISTED]) + (f" and {more} more" if more > 0 else "")
        return (pattern or "%").replace("%", shown)


OUTER_TEXTS: Final[dict[str, ProblemText]] = {}
"""By code, the texts of the rooms that were imported. Only `add_texts` changes it."""


def add_texts(texts: Mapping[str, tuple[str, str]]) -> None:
    """The cause and the remedy of each code of one room."""
    OUTER_TEXTS.update((code, ProblemText(*text)) for code, text in texts.items())
