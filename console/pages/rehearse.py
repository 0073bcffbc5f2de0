"""Page before an act: what it would be done to, and the form with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from console.access import known
from console.acts import MOST
from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command
from console.pages.now import cause_of
from domain.errors import UsageError, problem
from domain.operator import Operator
from domain.scope.steps import Scope

if TYPE_CHECKING:
    from runtime.compose.parts import Parts

HELP: Final = {
    "retry": "Retry scopes that failed, or that are on hold because a step failed. Remove the cause first.",
    "hold": "Start no further step until the scope is released. A started step is completed.",
    "release": "Let a scope continue that an operator put on hold.",
    "ensure": "Ensure every step of a converged scope again.",
    "restore": "Undo the destruction of a tenant before its purge begins: its products open again with their data.",
}


REHEARSED: Final = ("retry", "release", "ensure")
"""The acts after which the saga has something to do."""
AT_ONCE: Final = 20
"""Scopes of a group that are rehearsed."""


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    act = known("act", ask.get("act"), tuple(HELP)) or "retry"
    position, tenant = desk.reads.position(), ask.get("tenant")
    cause = ask.get("cause")
    scopes = cause_of(desk, cause).scopes[:MOST] if cause else [_scope(text) for text in ask.many("scope")]
    rows = _rows(desk, scopes)
    if act in REHEARSED:
        _rehearse(desk.parts, act, rows[:AT_ONCE])
    named = (tenant,) if act == "restore" and tenant else (*(str(scope) for scope in scopes[:1]),)
    words = ("restore",) if act == "restore" else ("runs", act)
    return ConsolePage(
        "rehearse",
        f"Before: {act}",
        {"act": act, "scopes": rows, "tenant": tenant, **_whole(rows)},
        command(*words, *named, reason="..."),
        watches=None,
        position=position,
        extra={"help": HELP[act], "not_undone": _not_undone(), "rehearsed": min(len(rows), AT_ONCE)},
    )


def _scope(text: str) -> Scope:
    try:
        return Scope.parse(text)
    except ValueError as error:
        raise UsageError(problem("scope-malformed", reason=error)) from None


def _rows(desk: ReadingDesk, scopes: Sequence[Scope]) -> list[dict[str, Any]]:
    """Each scope with the version that is seen here: the act is refused where it has moved on since."""
    from application.operator_commands import seen_version  # noqa: PLC0415
    from domain.tenant.state import stream_of  # noqa: PLC0415

    # Before the states: what moves between the two is refused, not overlooked.
    versions = desk.reads.versions({*map(str, scopes), *(stream_of(scope.tenant_id) for scope in scopes)})
    standings = desk.reads.standings(scopes)
    return [
        {
            "scope": str(scope),
            "seen": seen_version(versions[str(scope)], versions[stream_of(scope.tenant_id)]),
            "state": standings.get(scope, {}).get("state", "unknown"),
            "reason": standings.get(scope, {}).get("reason"),
        }
        for scope in scopes
    ]


def _rehearse(parts: Parts, act: str, rows: Sequence[dict[str, Any]]) -> None:
    """Beside each scope, what the act would do; or why it would be refused."""
    from application.operator_commands import Act  # noqa: PLC0415
    from application.problem_texts import sentence  # noqa: PLC0415
    from runtime.compose.operators import rehearsing_of  # noqa: PLC0415
    from runtime.reports.rehearsal import BECAUSE, rehearsal_data  # noqa: PLC0415

    rehearsals, by = rehearsing_of(parts), Operator("nobody", channel="console")
    for row in rows:
        try:
            found = rehearsals.of_act(Act(cast("Any", act), Scope.parse(row["scope"]), BECAUSE), by=by)
            row["rehearsal"] = rehearsal_data(found)
        except UsageError as error:
            row["refused"] = sentence(error)


def _whole(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all that were rehearsed: the steps of the first, how often each system is called, what cannot be undone."""
    found = [row["rehearsal"] for row in rows if "rehearsal" in row]
    systems: Counter[str] = Counter()
    for each in found:
        systems.update(each["systems"])
    return {
        "steps": found[0]["steps"] if found else [],
        "systems": dict(systems),
        "irreversible": [gone for each in found for gone in each["irreversible"]],
    }


def _not_undone() -> Mapping[Any, str]:
    from runtime.reports.rehearsal import NOT_UNDONE  # noqa: PLC0415

    return NOT_UNDONE
