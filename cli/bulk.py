"""Acts on many objects, one by one: each has a report of its own, and a refused one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from cli.output import Line, Report
from domain.errors import TenantryError, Unavailable

T = TypeVar("T")
Outcome = dict[str, Any]


def each_by_itself(
    things: Iterable[T],
    act: Callable[[T], Outcome],
    *,
    refused: Callable[[T, TenantryError], Outcome],
    text: Callable[[Outcome], Iterable[Line]],
    is_good: Callable[[Outcome], bool],
) -> Iterator[Report]:
    """The JSON value is one list. Unavailable ends the whole command."""
    results: list[Outcome] = []
    for thing in things:
        try:
            results.append(act(thing))
        except Unavailable:
            raise
        except TenantryError as error:
            results.append(refused(thing, error))
        yield Report(text=text(results[-1]), good=is_good(results[-1]))
    yield Report(results)
