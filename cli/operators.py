"""Who is at the terminal, and why do they act?

What an operator does is an event, with who and why.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.command import Judged
from domain.errors import UsageError
from runtime.proposal import account

LONGEST = 1024


def who(name: str) -> str:
    """`user@host`, with the name where one was given: `Ada (ada@console)`."""
    return f"{name.strip()} ({account()})" if name.strip() else account()


def why(reason: str) -> str:
    """The reason as it is recorded; UsageError where it says nothing, or too much."""
    text = reason.strip()
    if not text:
        raise UsageError("--reason is empty: say why, others will want to know")
    if len(text) > LONGEST:
        raise UsageError(f"--reason is {len(text)} characters long: use {LONGEST} at most")
    return text


def why_if_given(reason: str | None) -> str | None:
    return why(reason) if reason is not None else None


By = Annotated[
    str,
    typer.Option("--as", metavar="NAME", help="Your name, beside user@host, for the record.", show_default=False),
    Judged(who),
]
Reason = Annotated[str, typer.Option(help="Why; kept in the log for good."), Judged(why)]
