"""Name of the operator at the terminal, and the reason of an act.

An operator's act is an event with the operator's name and the reason.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli.command import Judged
from domain.errors import UsageError, problem
from runtime.proposal import account

LONGEST = 1024


def who(name: str) -> str:
    """`user@host`, with the name where one was given: `Ada (ada@console)`."""
    return f"{name.strip()} ({account()})" if name.strip() else account()


def why(reason: str) -> str:
    """The reason as it is recorded; UsageError where it is empty or too long."""
    text = reason.strip()
    if not text:
        raise UsageError(problem("reason-empty"))
    if len(text) > LONGEST:
        raise UsageError(problem("reason-too-long", text=len(text), longest=LONGEST))
    return text


def why_if_given(reason: str | None) -> str | None:
    return why(reason) if reason is not None else None


By = Annotated[
    str,
    typer.Option("--as", metavar="NAME", help="Your name, recorded beside user@host.", show_default=False),
    Judged(who),
]
Reason = Annotated[str, typer.Option(help="The reason; kept in the log for good."), Judged(why)]
