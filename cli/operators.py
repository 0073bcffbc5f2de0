"""Who is at the terminal, and why do they act?

What an operator does is an event, with who and why.
"""

from __future__ import annotations

import getpass
import socket
from typing import Annotated

import typer

from domain.errors import UsageError

As = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name, beside user@host, for the record.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the log for good.")]

LONGEST = 1024


def who(name: str | None = None) -> str:
    """`user@host`, with the name where one was given: `Ada (ada@console)`."""
    account = f"{getpass.getuser()}@{socket.gethostname()}"
    return f"{name.strip()} ({account})" if name and name.strip() else account


def why(reason: str) -> str:
    """The reason as it is recorded; UsageError where it says nothing, or too much."""
    text = reason.strip()
    if not text:
        raise UsageError("--reason is empty: say why, others will want to know")
    if len(text) > LONGEST:
        raise UsageError(f"--reason is {len(text)} characters long: use {LONGEST} at most")
    return text
