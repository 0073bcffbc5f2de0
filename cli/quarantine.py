"""Quarantine commands: list, show, retry and discard messages that could not be applied."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import typer

from adapters.kafka.preserved_messages import restore
from application.operator_event import checked_reason
from application.ports.quarantine import Picked, QuarantineEntry
from application.problem_texts import sentence
from cli.bulk import each_by_itself
from cli.command import Judged, command
from cli.operators import By, WhyShown
from cli.output import Line, Report, err, error_line, pairs, table
from domain.errors import UsageError, problem
from domain.operator import Operator
from runtime.compose import Parts
from runtime.compose.operators import quarantine_commands_of, quarantine_of

app = typer.Typer(
    help="Messages that could not be applied: list, show, retry, discard.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The number from `quarantine list`.")]
Numbers = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NUMBER...]", help="Numbers from `quarantine list`; `-` reads them from stdin."),
]
Rule = Annotated[str | None, typer.Option(help='Only messages that broke this rule: "not-json".')]
Source = Annotated[str | None, typer.Option(help="Only messages of this source.")]
Type = Annotated[str | None, typer.Option("--type", help="Only messages of this type.")]
Tenant = Annotated[str | None, typer.Option(metavar="TENANT", help="Only messages of this tenant.")]

MOST = 1000
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="Largest number of messages at a time.")]


@app.command("list")
@command
def list_(
    parts: Parts,
    state: Annotated[
        Literal["open", "retried", "discarded"], typer.Option(help="State of the messages to list.")
    ] = "open",
    rule: Rule = None,
    source: Source = None,
    type_: Type = None,
    tenant: Tenant = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Largest number of messages.")] = 1000,
) -> Report:
    """List messages, oldest first, with the rule that each broke."""
    picked = Picked(rule, source, type_, tenant)
    entries = quarantine_of(parts).entries(state=state, limit=limit, picked=picked)
    rows = [
        (
            entry.number,
            entry.rule,
            entry.source,
            entry.type,
            entry.tenant_id,
            f"{entry.topic}/{entry.partition}@{entry.offset}",
            entry.repeats + 1,
            entry.reason,
        )
        for entry in entries
    ]
    columns = ("number", "rule", "source", "type", "tenant", "place on Kafka", "times", "reason")
    return Report([_data_of(entry) for entry in entries], [table(f"{len(rows)} {state}", columns, rows)])


@app.command()
@command
def show(
    parts: Parts,
    number: Number,
    reason: WhyShown = None,
    by: By = "",
) -> Report:
    """Show one whole message. It may hold personal data: that you were shown it is recorded as an act."""
    entry, body = quarantine_commands_of(parts).show(number, reason=reason, by=Operator.parse(by))
    message = restore(body)
    data = {
        **_data_of(entry),
        "headers": {name: _text(value) for name, value in message.headers},
        "key": _text(message.key),
        "value": _text(message.value),
    }
    return Report(data, [pairs(f"message {number}", data)])


@app.command()
@command
def retry(
    parts: Parts,
    numbers: Numbers = None,
    rule: Rule = None,
    source: Source = None,
    type_: Type = None,
    tenant: Tenant = None,
    limit: Limit = MOST,
    by: By = "",
) -> Iterable[Report]:
    """Take messages in again: after the catalogue, or the state that refused them, has changed.

    Name them by number, or all that broke a rule, came from a source, are of a type or of a tenant.
    """
    return _one_by_one(
        _chosen(parts, numbers or [], Picked(rule, source, type_, tenant), limit),
        lambda number: _retried(parts, number, by),
    )


@app.command()
@command
def discard(
    parts: Parts,
    reason: Annotated[
        str, typer.Option(help="The reason why they may be left out; kept in the log for good."), Judged(checked_reason)
    ],
    numbers: Numbers = None,
    rule: Rule = None,
    source: Source = None,
    type_: Type = None,
    tenant: Tenant = None,
    limit: Limit = MOST,
    by: By = "",
) -> Iterable[Report]:
    """Close messages without applying them. They are kept, with the operator's name and the reason.

    Name them by number, or all that broke a rule, came from a source, are of a type or of a tenant.
    """
    return _one_by_one(
        _chosen(parts, numbers or [], Picked(rule, source, type_, tenant), limit),
        lambda number: _discarded(parts, number, by, reason),
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The numbers, and whether a single message was named: then there is one result, not a list."""

    numbers: Sequence[int]
    is_single: bool


def _chosen(parts: Parts, numbers: Sequence[str], picked: Picked, limit: int) -> _Chosen:
    """Raises UsageError where neither numbers nor filters are given, or both."""
    if not numbers and picked.says_nothing:
        raise UsageError(problem("messages-unnamed"))
    if numbers and not picked.says_nothing:
        raise UsageError(problem("messages-named-twice"))
    if not numbers:
        found = quarantine_of(parts).entries(limit=limit, picked=picked)
        if not found:
            raise UsageError(problem("messages-none-match"))
        if len(found) == limit:
            err.print(f"there may be more than {limit}: repeat it, or raise --limit")
        return _Chosen([entry.number for entry in found], is_single=False)
    words = sys.stdin.read().split() if "-" in numbers else numbers
    wrong = next((word for word in words if not (word.isascii() and word.isdigit() and 0 < int(word) < 2**63)), None)
    if wrong is not None:
        raise UsageError(problem("message-no-number", wrong=wrong))
    return _Chosen(list(dict.fromkeys(map(int, words))), is_single=len(numbers) == 1 and "-" not in numbers)


def _one_by_one(chosen: _Chosen, act: Callable[[int], dict[str, Any]]) -> Iterable[Report]:
    if chosen.is_single:
        data = act(chosen.numbers[0])
        return [Report(data, [_line(data)], good=_is_good(data))]
    return each_by_itself(
        chosen.numbers,
        act,
        refused=lambda number, error: {"number": number, "outcome": "refused", "reason": sentence(error)},
        text=lambda data: [_line(data)],
        is_good=_is_good,
    )


def _is_good(data: dict[str, Any]) -> bool:
    return data["outcome"] not in ("quarantined", "refused")


def _line(result: dict[str, Any]) -> Line:
    number, outcome = result["number"], result["outcome"]
    match outcome:
        case "refused":
            return error_line(result["reason"])
        case "quarantined" if "refused_as" in result:
            refused = f"message {number} was refused again, as message {result['refused_as']}"
            return f"{refused}: {result['rule']}: {result['reason']}"
        case "quarantined":
            return f"message {number} was refused again: see `tenantry quarantine list`"
        case "discarded":
            return f"message {number} discarded"
        case _:
            return f"message {number}: {outcome}"


def _retried(parts: Parts, number: int, by: str) -> dict[str, Any]:
    done = quarantine_commands_of(parts).retry(number, by=Operator.parse(by))
    result: dict[str, Any] = {"number": number, "outcome": done.outcome}
    again = done.refused_as
    if again is not None:
        result |= {"refused_as": again.number, "rule": again.rule, "reason": again.reason}
    return result


def _discarded(parts: Parts, number: int, by: str, reason: str) -> dict[str, Any]:
    quarantine_commands_of(parts).discard(number, reason=reason, by=Operator.parse(by))
    return {"number": number, "outcome": "discarded"}


def _data_of(entry: QuarantineEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _COLUMNS} | {"received_at": entry.received_at.isoformat()}


_COLUMNS: Final = (
    *("number", "state", "rule", "reason", "source", "id", "type", "tenant_id"),
    *("topic", "partition", "offset", "repeats"),
)


def _text(value: bytes | None) -> str | None:
    """Text as it is, other bytes escaped."""
    return None if value is None else json.dumps(value.decode("utf-8", "backslashreplace"), ensure_ascii=False)[1:-1]
