"""Causes: scopes that need a look, grouped by what they have in common: the step, the system and the reason.

Two hundred tenants that one failed provisioner has stopped are one cause. What differs from tenant to tenant in a
reason (ids, schema names, long numbers) is left out of the comparison; the reason that is shown is the first one's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from domain.scope.steps import Scope, Step
from domain.stream_name import ObstacleName

Need = Literal["person", "waits", "tries"]
"""`person`: an operator must act; `waits`: for something with a name; `tries`: the saga tries it again by itself."""

_NEEDS: Final[Mapping[str, Need]] = {
    "on_hold": "person",
    "failed": "person",
    "waiting": "waits",
    "in_progress": "tries",
}
_ORDER: Final = ("person", "tries", "waits")
_DIFFERS: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[tgr]_[0-9a-z_]+\b|\b[0-9a-f]{12,}\b|\b\d{4,}\b")


@dataclass(frozen=True, slots=True)
class SharedCause:
    """`scopes` in the order of tenants; `id` is the same for the same cause, whenever it is looked at."""

    id: str
    need: Need
    state: str
    subject: str
    step: str | None
    reason: str
    since: datetime
    retry_at: datetime | None
    scopes: Sequence[Scope]

    @property
    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "need": self.need,
            "state": self.state,
            "subject": self.subject,
            "step": self.step,
            "reason": self.reason,
            "since": self.since,
            "retry_at": self.retry_at,
            "scopes": len(self.scopes),
            "tenants": len({scope.tenant_id for scope in self.scopes}),
        }


def causes(rows: Iterable[Mapping[str, Any]]) -> list[SharedCause]:
    """What needs a person first, and of those the cause with the most scopes. `rows`: of ConsoleReader.troubles."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_key(row), []).append(row)
    found = [_cause(key, members) for key, members in groups.items()]
    return sorted(found, key=lambda cause: (_ORDER.index(cause.need), -len(cause.scopes), cause.since))


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    reason = _reason(row)
    for tenant_id in row["tenants"][:1]:  # a reason that names its tenant is no other tenant's
        reason = reason.replace(tenant_id, "…")
    reason = _DIFFERS.sub("…", reason)
    return str(row["state"]), _subject(row), str(row["step"] or ""), reason


def _cause(key: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> SharedCause:
    first = min(rows, key=lambda row: row["since"])
    retries = [row["retry_at"] for row in rows if row["retry_at"] is not None]
    step = first["step"]
    return SharedCause(
        id=hashlib.sha256("\0".join(key).encode()).hexdigest()[:12],
        need=_NEEDS[first["state"]],
        state=first["state"],
        subject=_subject(first),
        step=f"{step} {Step(step).name.lower()}" if step else None,
        reason=_reason(first),
        since=first["since"],
        retry_at=min(retries, default=None),
        scopes=sorted(
            (Scope(row["kind"], tenant_id, row["key"]) for row in rows for tenant_id in row["tenants"]),
            key=lambda scope: (scope.tenant_id, scope.kind, scope.key),
        ),
    )


def _subject(row: Mapping[str, Any]) -> str:
    return str(row["key"] or "site")


def _reason(row: Mapping[str, Any]) -> str:
    """Why the scope stands where it is: what it waits for, or what it was refused with."""
    if row["state"] == "waiting" and row["obstacle"]:
        return row["step_reason"] or _obstacle(row["obstacle"])
    return str(row["reason"] or row["step_reason"] or "no reason was recorded")


def _obstacle(text: str) -> str:
    try:
        obstacle = ObstacleName.parse(text)
    except ValueError:
        return text
    return f"{obstacle.name} does not answer" if obstacle.kind == "unreachable" else f"{obstacle.kind} {obstacle.name}"
