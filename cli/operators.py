"""Name of the operator at the terminal, and the reason of an act.

An operator's act is an event with the operator's name and the reason.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Final

import typer

from application.operator_event import checked_reason
from cli.command import Judged
from domain.errors import UsageError, problem
from domain.operator import Operator
from runtime.proposal import account

LONGEST_HOLD: Final = timedelta(days=365)


def who(name: str) -> str:
    """The user of this machine at the terminal, with the name where one was given: `Ada (ada@host)`."""
    return str(replace(Operator.parse(account()), name=name.strip()))


def duration(text: str) -> timedelta:
    """`90s`, `30m`, `2h`, `1d12h`. Raises UsageError."""
    found = _DURATION.fullmatch(text.strip())
    period = timedelta(**{unit: int(number) for unit, number in found.groupdict("0").items()}) if found else timedelta()
    if not timedelta() < period <= LONGEST_HOLD:
        raise UsageError(problem("duration-malformed", text=text, longest=LONGEST_HOLD.days))
    return period


_DURATION: Final = re.compile(
    r"(?:(?P<days>\d{1,4})d)?(?:(?P<hours>\d{1,5})h)?(?:(?P<minutes>\d{1,6})m)?(?:(?P<seconds>\d{1,7})s)?"
)


def why_if_given(reason: str | None) -> str | None:
    return checked_reason(reason) if reason is not None else None


By = Annotated[
    str,
    typer.Option("--as", metavar="NAME", help="Your name, recorded beside user@host.", show_default=False),
    Judged(who),
]
Reason = Annotated[str, typer.Option(help="The reason; kept in the log for good."), Judged(checked_reason)]
HoldFor = Annotated[
    str | None, typer.Option("--for", metavar="PERIOD", help="The hold ends by itself after it: 90s, 30m, 2h, 1d12h.")
]
WhyShown = Annotated[
    str | None, typer.Option("--reason", help="Why you look; kept in the log for good."), Judged(why_if_given)
]
Seen = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="The version that you looked at: refused where the object has moved since."),
]
