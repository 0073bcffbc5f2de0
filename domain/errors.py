"""Errors: what can go wrong, and what becomes of it.

TenantryError                     every error of ours; a Problem, or a text that names the noun and the remedy
├── UsageError                    the operator's input or settings are wrong                    exit 2
├── Unavailable                   a database, broker or shard does not answer, or not now       exit 1
├── Fault                         Tenantry itself is wrong; the log holds the traceback         exit 1
├── Rejected                      a message cannot be applied; it goes to quarantine
│   ├── Malformed                 no CloudEvent of ours, or its data does not fit
│   ├── Refused                   the life cycle forbids it (only without a revision)
│   └── Contradiction             the same revision, or the same id, with other content
├── Conflict                      another process recorded first: load again, decide again
│   ├── Contended                 two transactions met, neither was first; Unavailable as well: it may pass
│   ├── GuardTripped              too much would be destroyed: decide again, and hold what is beyond
│   └── PositionLost              another intake took the partition over: seek to what the database says
├── Tampered                      what is sealed, or its seal, is not what it was                exit 1
├── UnreadableEvent               a stored event that this version of Tenantry cannot read
│   └── NewerEvent                a later version wrote it; Unavailable as well: wait for the upgrade
└── ExecutorError                 an effect did not come about
    ├── Retryable                 try again, later
    │   └── Unreachable           it is away: try again for hours; that uses up no attempt
    ├── Permanent                 trying again cannot help
    ├── Obstacle                  a named thing is taken, or not ready; wait for it
    └── Fenced                    a newer generation has been here; drop this one
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from domain.problem_text import OUTER_TEXTS
from domain.stream_name import ObstacleName

Code = Literal[
    # a message is refused
    "already-active",
    "already-held",
    "already-suspended",
    "bad-attribute",
    "bad-data",
    "empty",
    "internal-error",
    "not-active",
    "not-cloudevent",
    "not-json",
    "not-suspended",
    "revision-missing",
    "same-revision-other-content",
    "site-name-reserved",
    "tenant-destroyed",
    "tenant-id-used-twice",
    "too-large",
    "undecodable",
    "unknown-edition",
    "unknown-product",
    "unknown-type",
    "unsupported-mode",
    # an operator's command is refused
    "approval-needed",
    "database-not-missing",
    "duration-malformed",
    "database-not-found-missing",
    "hold-already-over",
    "export-budget-used-up",
    "export-grant-ended",
    "export-grant-for-other-data",
    "export-grant-for-other-tenant",
    "export-grant-over",
    "export-grant-revoked",
    "export-grant-unknown",
    "message-settled",
    "message-stays",
    "no-database",
    "not-destroyed",
    "nothing-to-ensure",
    "nothing-to-release",
    "nothing-to-retry",
    "only-purges-held",
    "orphan-plan-changed",
    "orphan-plan-unknown",
    "orphans-implausible",
    "plan-changed",
    "reason-empty",
    "reason-too-long",
    "recreation-under-way",
    "restore-window-over",
    "scope-failed",
    "scope-moved",
    "scope-not-converged",
    "scope-on-hold",
    "scope-on-hold-already",
    "scope-unknown",
    "service-key-name-used",
    "service-key-published",
    "service-key-revoked",
    "service-key-unknown",
    "shard-unreachable",
    "step-failed",
    # a configuration is refused
    "file-invalid",
    "file-not-toml",
    "product-moved",
    "retired-in-file",
    "shard-moved",
    # the engine stops, or decides again
    "drift-implausible",
    "guard-tripped",
    "intake-halted",
]
"""What programs may test for, of the domain and the application; `problem_texts.py` of an outer room has its codes."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, as a code with data. As text it is the sentence of the room that has met it; the domain has none,
    so that of its problems is rendered by application/problem_texts.py."""

    code: str
    data: Mapping[str, str | int | tuple[str, ...] | None]

    def __str__(self) -> str:
        if self.code in OUTER_TEXTS:
            return OUTER_TEXTS[self.code].sentence(self.data)
        return ", ".join([self.code, *(f"{name}={value}" for name, value in self.data.items() if value is not None)])


def problem(code: str, /, **data: object) -> Problem:
    """A problem; data that is no text, number or list of texts is stored as its text."""
    return Problem(code, {name: each if type(each) in _KEPT else str(each) for name, each in data.items()})  # type: ignore[misc]


_KEPT: Final = (str, int, tuple, type(None))


class TenantryError(Exception):
    """Every error of ours, with its problem; or, where it comes from outside or is recorded, with a line of text."""

    def __init__(self, reason: Problem | str = "") -> None:
        super().__init__(reason)
        self.problem = reason if isinstance(reason, Problem) else None


class UsageError(TenantryError):
    """The operator's input or a setting is wrong."""


class Unavailable(TenantryError):
    """A part we depend on does not answer, or cannot do its work now. It may pass: the caller waits.

    `why` is a short, stable name that programs may test for: `refused`, `full`, `read-only` ...
    """

    def __init__(self, reason: Problem | str, *, why: str = "unavailable") -> None:
        super().__init__(reason)
        self.why = why


class Fault(TenantryError):
    """A statement or an assumption of Tenantry itself is wrong. Waiting cannot help; its traceback is in the log."""


class Rejected(TenantryError):
    """A message cannot be applied. `rule`, the code of the problem, is what the quarantine shows."""

    def __init__(self, reason: Problem) -> None:
        super().__init__(reason)
        self.rule: str = reason.code


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
        super().__init__(problem("guard-tripped", destroys=left, closings=closings_left))
        self.left = left
        self.closings_left = closings_left


class PositionLost(Conflict):
    """Another intake has moved on with the partition; nothing was recorded."""


class Tampered(TenantryError):
    """The log, or the seal over it, was changed behind our back."""


class UnreadableEvent(TenantryError):
    """The log holds an event that this version of Tenantry cannot read."""


class NewerEvent(UnreadableEvent, Unavailable):
    """A later version of Tenantry wrote the event: whatever meets it waits, and goes on after the upgrade."""

    def __init__(self, reason: Problem | str) -> None:
        super().__init__(reason, why="upgrade")


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
    """Trying again with the same desired state cannot help."""


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
