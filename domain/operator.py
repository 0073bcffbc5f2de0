"""Operator: the identity of the person behind an act, as a type and as the text that the log shows.

    channel     by which way the act came: the terminal, or the console in the browser
    issuer      the authority for the subject: the host of the terminal, or the identity provider at the console's proxy
    subject     the name that the issuer gives to the person
    name        what the person calls themselves (`--as`), to which no authority testifies

The text is stored as the source of the act's cause: `Ada (ada@host)`. From it follows the whole identity of an act at
the terminal. What it does not tell, another channel and the version that was seen, is stored beside it (ActOrigin).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from domain.event import ActOrigin, Cause, Channel


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts."""

    subject: str
    issuer: str = ""
    channel: Channel = "terminal"
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Operator:
        """The operator of an act at the terminal, from the text: `ada@host`, or `Ada (ada@host)`."""
        found = _NAMED.fullmatch(text)
        account = found["account"] if found else text
        subject, _, issuer = account.rpartition("@")
        return cls(subject or account, issuer if subject else "", name=found["name"] if found else "")

    @classmethod
    def of(cls, cause: Cause) -> Operator:
        """The operator of a recorded act."""
        origin, found = cause.act, cls.parse(cause.source)
        return cls(origin.subject, origin.issuer, origin.channel, found.name) if origin is not None else found

    def __str__(self) -> str:
        account = f"{self.subject}@{self.issuer}" if self.issuer else self.subject
        through = account if self.channel == "terminal" else f"{account}, {self.channel}"
        return f"{self.name} ({through})" if self.name else through

    def origin(self, seen: str | None) -> ActOrigin | None:
        """What is stored beside the text: nothing for an act at the terminal that names no version."""
        if self.channel == "terminal" and seen is None:
            return None
        return ActOrigin(channel=self.channel, issuer=self.issuer, subject=self.subject, seen=seen)


_NAMED: Final = re.compile(r"(?P<name>.+) \((?P<account>[^()]+)\)", re.DOTALL)
