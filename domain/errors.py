"""What can go wrong, and what becomes of it?

TenantryError                     every error of ours; its text names the noun and the remedy
├── UsageError                    the operator's input or settings are wrong                    exit 2
├── Unavailable                   a database, broker or shard does not answer, or not now       exit 1
├── Fault                         Tenantry itself is wrong; the log holds the traceback         exit 1
├── Rejected                      a message cannot be applied; it goes to quarantine
│   ├── Malformed                 no CloudEvent of ours, or its data does not fit
│   ├── Refused                   the life cycle forbids it (only without a revision)
│   └── Contradiction             the same revision, or the same id, with other content
├── Conflict                      somebody else recorded first: load again, decide again
│   ├── Contended                 two transactions met, neither was first; Unavailable as well: it may pass
│   ├── GuardTripped              too much would be destroyed: decide again, and hold what is beyond
│   └── PositionLost              another intake took the partition over: seek to what the database says
├── Tampered                      what is sealed, or its seal, is not what it was                exit 1
├── UnreadableEvent               a stored event of an unknown topic or a newer schema version
└── ExecutorError                 an effect did not come about
    ├── Retryable                 try again, later
    │   └── Unreachable           it is away: try again for hours; that uses up no attempt
    ├── Permanent                 trying again cannot help
    ├── Obstacle                  a named thing is taken, or not ready; wait for it
    └── Fenced                    a newer generation has been here; drop this one
"""

from __future__ import annotations

from datetime import timedelta

from domain.stream_name import ObstacleName


class TenantryError(Exception):
    """Every error of ours. `str(error)` is one line for people: what is wrong, and what to do."""


class UsageError(TenantryError):
    """The operator's input or a setting is wrong."""


class Unavailable(TenantryError):
    """A part we depend on does not answer, or cannot do its work now. It may pass: whoever meets it waits.

    `why` is a short, stable name that programs may test for: `refused`, `full`, `read-only` ...
    """

    def __init__(self, text: str, *, why: str = "unavailable") -> None:
        super().__init__(text)
        self.why = why


class Fault(TenantryError):
    """A statement or an assumption of Tenantry itself is wrong. Waiting cannot help; its traceback is in the log."""


class Rejected(TenantryError):
    """A message cannot be applied. `rule` is a short, stable name that programs may test for."""

    def __init__(self, rule: str, explanation: str) -> None:
        super().__init__(explanation)
        self.rule = rule
        self.explanation = explanation


class Malformed(Rejected):
    """The bytes are not a CloudEvent of ours, or its data does not fit the schema."""


class Refused(Rejected):
    """The life cycle forbids the event in the state it met."""


class Contradiction(Rejected):
    """One revision, or one id, came with two contents."""


class Conflict(TenantryError):
    """Another writer was first; nothing was recorded. Load again and decide again."""


class Contended(Conflict, Unavailable):
    """Two transactions stood in each other's way and the database ended this one; nothing was recorded."""


class GuardTripped(Conflict):
    """More would be destroyed, or closed, than the destroy guard lets pass; nothing was recorded.

    `left` is what of its budget of destroys is left, `closings_left` that of closings; None where nothing of the kind
    was asked for.
    """

    def __init__(self, left: int | None, closings_left: int | None = None) -> None:
        budgets = {"destroys": left, "closings": closings_left}
        told = " and ".join(f"{count} more {what}" for what, count in budgets.items() if count is not None)
        super().__init__(f"the destroy guard lets {told} pass: decide again, and hold what is beyond")
        self.left = left
        self.closings_left = closings_left


class PositionLost(Conflict):
    """Another intake has moved on with the partition; nothing was recorded."""


class Tampered(TenantryError):
    """The log, or the seal over it, was changed behind our back."""


class UnreadableEvent(TenantryError):
    """The log holds an event that this version of Tenantry cannot read."""


class ExecutorError(TenantryError):
    """An effect of the saga did not come about."""


class Retryable(ExecutorError):
    """May come about later; `delay` overrides the policy's back-off."""

    def __init__(self, reason: str, *, delay: timedelta | None = None) -> None:
        super().__init__(reason)
        self.delay = delay


class Unreachable(Retryable):
    """The other side gives no answer, or says that it cannot answer now (5xx): `away` names it (`shard eu-1`).

    An outage is no failure of the step. It uses up no attempt, and ends after `unreachable_for` of the policy.
    """

    def __init__(self, away: str, reason: str, *, delay: timedelta | None = None) -> None:
        super().__init__(reason, delay=delay)
        self.away = away

    @property
    def obstacle(self) -> str:
        """The name under which the scopes wait that meet the outage."""
        return str(ObstacleName("unreachable", self.away))


class Permanent(ExecutorError):
    """Trying again with the same wish cannot help."""


class Obstacle(ExecutorError):
    """Something with a name stands in the way (`site-name:acme`, `room:eu`); waiting uses up no attempt.

    `delay` overrides the policy's pause before the next look.
    """

    def __init__(self, obstacle: str, reason: str, *, delay: timedelta | None = None) -> None:
        super().__init__(reason)
        self.obstacle = obstacle
        self.delay = delay


class Fenced(ExecutorError):
    """The thing has seen a newer generation than ours; our outcome must not count."""
