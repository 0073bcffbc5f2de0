"""Name of the operator at the terminal, and the reason of an act.

An operator's act is an event with the operator's name and the reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from application.operator_event import checked_reason
from cli.command import Judged
from domain.operator import Operator
from runtime.proposal import account


def who(name: str) -> str:
    """The user of this machine at the terminal, with the name where one was given: `Ada (ada@host)`."""
    return str(replace(Operator.parse(account()), name=name.strip()))


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
