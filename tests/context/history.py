"""The history checker: changes and look-ups, with the times and positions of each, held against what was promised.

    late       an answer that rests on what a change had superseded more than T before the look-up began
    below      an answer that is older than its token
    back       a client that sees an older state of a tenant than it has seen before
    wrong      an answer that is not what the log says of that version
    unknown    "no such tenant", where there was one all the time

All times are nanoseconds of CLOCK_BOOTTIME, on one machine. A change counts from when its commit was acknowledged, so
the checker is lenient by the time that the acknowledgement takes, and never too strict.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Change(NamedTuple):
    """A change of one tenant; `answer` is what look-ups say from then on: open, closed or unknown."""

    tenant: str
    position: int
    answer: str
    began: int
    committed: int


class Look(NamedTuple):
    """Look-ups of one client with the same result, one after another.

    `began` is when the last of them began, `ended` when the first of them ended; `token` is the highest of theirs.
    """

    client: int
    tenant: str
    answer: str
    version: int
    token: int
    began: int
    ended: int
    times: int


class Violation(NamedTuple):
    """What was promised and not held."""

    rule: str
    look: Look
    text: str


@dataclass(slots=True)
class History:
    """The changes of all tenants, in the order of the log. `term_ns` is T."""

    term_ns: int
    changes: dict[str, list[Change]] = field(default_factory=dict)

    def add(self, change: Change) -> None:
        """Changes come in the order of their positions."""
        self.changes.setdefault(change.tenant, []).append(change)

    def violations(self, looks: Iterable[Look]) -> list[Violation]:
        """Everything that was promised and not held; look-ups of a client come in their order."""
        found: list[Violation] = []
        seen: dict[tuple[int, str], int] = {}
        for look in looks:
            if look.answer == "refused":
                continue
            found += self._judge(look, seen)
        return found

    def _judge(self, look: Look, seen: dict[tuple[int, str], int]) -> list[Violation]:
        found: list[Violation] = []
        changes = self.changes.get(look.tenant, [])
        at = bisect_right(changes, look.version, key=lambda each: each.position)
        if look.answer == "unknown":
            return self._judge_unknown(look, changes)
        if not at or changes[at - 1].position != look.version or changes[at - 1].answer != look.answer:
            return [Violation("wrong", look, "the log knows no such state")]
        if at < len(changes) and changes[at].committed + self.term_ns < look.began:
            late = (look.began - changes[at].committed - self.term_ns) / 1e9
            found.append(Violation("late", look, f"{late:.3f} s after T"))
        if at < len(changes) and changes[at].position <= look.token:
            found.append(Violation("below", look, f"{changes[at].position} came before the token"))
        key = look.client, look.tenant
        if look.version < seen.get(key, 0):
            found.append(Violation("back", look, f"version {seen[key]} was seen before"))
        seen[key] = max(look.version, seen.get(key, 0))
        return found

    def _judge_unknown(self, look: Look, changes: list[Change]) -> list[Violation]:
        """It may have been unknown at a time from T before the look-up to its end, after the token."""
        for number, change in enumerate(changes):
            if change.answer == "unknown":
                until = changes[number + 1].committed if number + 1 < len(changes) else look.began
                if until + self.term_ns >= look.began and change.began <= look.ended:
                    return []
        if not changes or changes[0].committed + self.term_ns >= look.began:
            return []
        return [Violation("unknown", look, "the tenant was there all the time")]


def in_force_violations(history: History, looks: Iterable[Look], recorded: Mapping[int, int]) -> list[Violation]:
    """Look-ups that began after `InForce(up_to=N)` was recorded, and rest on what came before N was superseded.

    `recorded`: the time of each record, by its N.
    """
    found = []
    for look in looks:
        changes = history.changes.get(look.tenant, [])
        at = bisect_right(changes, look.version, key=lambda each: each.position)
        if look.answer != "open" or not 0 < at < len(changes):
            continue
        for up_to, when in recorded.items():
            if changes[at].position <= up_to and when < look.began:
                found.append(Violation("in force", look, f"InForce({up_to}) was recorded before"))
    return found
