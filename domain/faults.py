"""Faults: unexpected errors of ours while one message is read or decided.

No message causes a fault, so its data are for the developers of Tenantry: a fingerprint that is the same for
the same fault, wherever and whenever it comes up. The log of the worker shows the traceback under that fingerprint; the
quarantine names it. Neither repeats the error's own text, which may quote what the message says of a person.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from domain.errors import Conflict, Problem, TenantryError, Unavailable, problem

INTERNAL_ERROR: Final = "internal-error"
"""The rule under which a message is quarantined that an unexpected error kept from being applied."""

WINDOW: Final = timedelta(minutes=1)
"""In which faults are counted against `Policy.faults_a_minute`."""


class IntakeHalted(TenantryError):
    """Too many messages met an unexpected error for it to be theirs; nothing of the batch was recorded."""

    def __init__(self, count: int) -> None:
        super().__init__(problem("intake-halted", count=count))


EXPECTED: Final = (Conflict, Unavailable, IntakeHalted)
"""What may come up at any message, and says nothing of it."""


def fingerprint(error: BaseException) -> str:
    """Twelve hexadecimal digits over the types of the error and its causes, and the places that they passed."""
    return hashlib.sha256("\n".join(_places(error)).encode()).hexdigest()[:12]


def explanation(error: BaseException) -> Problem:
    """Why a message is quarantined under INTERNAL_ERROR."""
    return problem("internal-error", error=type(error).__name__, fingerprint=fingerprint(error))


def trace(error: BaseException) -> str:
    """The traceback, as Python shows it, without the texts of the errors."""
    parts = []
    for each in _chain(error):
        parts += [*traceback.format_tb(each.__traceback__), f"{type(each).__module__}.{type(each).__qualname__}\n"]
    return "".join(parts)


def _places(error: BaseException) -> Iterator[str]:
    for each in _chain(error):
        yield f"{type(each).__module__}.{type(each).__qualname__}"
        for frame, line in traceback.walk_tb(each.__traceback__):
            yield f"{frame.f_globals.get('__name__', '')} {frame.f_code.co_qualname} {line}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what caused it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
