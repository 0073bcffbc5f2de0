"""docs/reference/errors.md, written from the tables of problem texts: each code, its cause and its remedy."""

from __future__ import annotations

import sys
from importlib import import_module

from application.problem_texts import MEANINGS, TEXTS
from domain.problem_text import OUTER_TEXTS, ProblemText

for _name in ("adapters", "audit", "console", "history", "runtime", "workers"):
    import_module(_name)  # each brings its texts

_HEAD = """# Errors

Written by `make schemas` from [application/problem_texts.py](../../application/problem_texts.py) and the
`problem_texts.py` of the other rooms.

An error is a code with data. The quarantine shows the code of a message as its rule; commands print the sentence.
`SCOPE` and other words in capitals are the data of the error; what stands in brackets is left out where there is none.

| code | cause | remedy |
|---|---|---|
"""


class _Name(str):
    """A value in a template, shown by its name."""

    __slots__ = ()

    def __format__(self, pattern: str) -> str:
        return f"[{pattern.replace('%', self)}]" if pattern else str(self)


class _Names(dict[str, object]):
    def __missing__(self, name: str) -> _Name:
        return _Name(name.upper())


def text() -> str:
    """The whole page."""
    filled = {code: each.filled(_Names()) for code, each in [*TEXTS.items(), *OUTER_TEXTS.items()]}
    filled |= {
        code: ProblemText(meaning, "do what the sentence says, and send it again") for code, meaning in MEANINGS.items()
    }
    rows = [f"| `{code}` | {each.cause} | {each.remedy} |\n" for code, each in sorted(filled.items())]
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(text())
