"""A page: its data, its title, and the command that prints the same; and the address that it was asked by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Ask:
    """What a page is asked by: the names in its path and the values of its query. Both are whole in the address."""

    path: str
    named: Mapping[str, str]
    query: Mapping[str, str]
    values: Sequence[tuple[str, str]] = ()
    """All of the query, in order, for names that come several times."""

    def many(self, name: str) -> list[str]:
        return [value for each, value in self.values if each == name]

    def get(self, name: str) -> str | None:
        """A value of the query; None where it is empty or missing."""
        return self.query.get(name) or None

    def number(self, name: str) -> int | None:
        """A whole number of the query, None where there is none."""
        text = self.query.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None

    def address(self, **changed: object) -> str:
        """This page with other values: None takes one away."""
        values = {**self.query, **{name: str(value) for name, value in changed.items() if value is not None}}
        kept = {name: value for name, value in values.items() if changed.get(name, value) is not None and value}
        return f"{self.path}?{urlencode(kept)}" if kept else self.path


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """`name` is that of its template. `watches`: the tenant whose changes it shows, all for "", nothing for None.

    `at` is the position of a past that it shows; then nothing can be done on it.
    """

    name: str
    title: str
    data: Mapping[str, Any]
    command: str
    watches: str | None = ""
    at: int | None = None
    position: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the template alone needs: addresses of other pages."""


def command(*words: str, **options: object) -> str:
    """`tenantry WORDS --option value` as a shell reads it; options that are None are left out."""
    given = [
        f"--{name.strip('_').replace('_', '-')} {quote(str(value))}"
        for name, value in options.items()
        if value is not None
    ]
    return " ".join(["tenantry", *map(quote, words), *given])
