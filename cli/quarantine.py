"""How does an operator deal with messages that could not be applied?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from adapters.kafka.preserved_messages import restore
from adapters.postgres.quarantine import Entry, Picked
from application.ingest import Outcome
from cli.operators import As, who, why
from cli.output import AsJson, DataDir, command, complain, err, out, print_json, running_parts, table
from domain.errors import TenantryError, Unavailable, UsageError
from domain.faults import INTERNAL_ERROR
from domain.names import is_tenant_id
from domain.operator_events import MessageDiscarded, MessageRetried
from runtime import faults
from runtime.compose import Parts
from runtime.compose.intake import lifecycle_of, messages_of
from runtime.compose.operators import acts_of, quarantine_of

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
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many at a time.")]


@app.command("list")
@command
def list_(
    state: Annotated[Literal["open", "retried", "discarded"], typer.Option(help="Which messages to list.")] = "open",
    rule: Rule = None,
    source: Source = None,
    type_: Type = None,
    tenant: Tenant = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 1000,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List messages, oldest first, with the rule that each broke."""
    picked = Picked(rule, source, type_, tenant)
    with running_parts(data_dir) as parts:
        entries = quarantine_of(parts).entries(state=state, limit=limit, picked=picked)
    if as_json:
        print_json([_told(entry) for entry in entries])
        return
    rows = [
        (
            entry.number,
            entry.rule,
            entry.source,
            entry.type,
            entry.tenant_id,
            _place(entry),
            entry.repeats + 1,
            entry.reason,
        )
        for entry in entries
    ]
    out.print(
        table(
            f"{len(rows)} {state}",
            ("number", "rule", "source", "type", "tenant", "place on Kafka", "times", "reason"),
            rows,
        )
    )


@app.command()
@command
def show(number: Number, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one message whole. Its content may be about persons: it is unsealed for you, and goes nowhere else."""
    with running_parts(data_dir) as parts:
        entry = quarantine_of(parts).entry(number)
        message = restore(quarantine_of(parts).body(entry))
    told = {
        **_told(entry),
        "headers": {name: _text(value) for name, value in message.headers},
        "key": _text(message.key),
        "value": _text(message.value),
    }
    if as_json:
        print_json(told)
    else:
        out.print(table(f"message {number}", ("what", "value"), list(told.items())))


@app.command()
@command
def retry(
    numbers: Numbers = None,
    rule: Rule = None,
    source: Source = None,
    type_: Type = None,
    tenant: Tenant = None,
    limit: Limit = MOST,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Put messages through the front door again: after the catalogue, or the state that refused them, has changed.

    Name them by number, or all that broke a rule, came from a source, are of a type or of a tenant.
    """
    by = who(as_name)
    with running_parts(data_dir) as parts:
        chosen = _chosen(parts, numbers or [], Picked(rule, source, type_, tenant), limit)
        _one_by_one(chosen, lambda number: _retried(parts, number, by), as_json)


@app.command()
@command
def discard(
    reason: Annotated[str, typer.Option(help="Why they may be left out; kept in the log for good.")],
    numbers: Numbers = None,
    rule: Rule = None,
    source: Source = None,
    type_: Type = None,
    tenant: Tenant = None,
    limit: Limit = MOST,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Close messages without applying them. They are kept, with who discarded them and why.

    Name them by number, or all that broke a rule, came from a source, are of a type or of a tenant.
    """
    said, by = why(reason), who(as_name)
    with running_parts(data_dir) as parts:
        chosen = _chosen(parts, numbers or [], Picked(rule, source, type_, tenant), limit)
        _one_by_one(chosen, lambda number: _discarded(parts, number, by, said), as_json)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The numbers, and whether a single message was named: then there is one result, not a list."""

    numbers: Sequence[int]
    is_single: bool


def _chosen(parts: Parts, numbers: Sequence[str], picked: Picked, limit: int) -> _Chosen:
    """Raises UsageError where nothing, or two things, say which messages are meant."""
    if not numbers and picked.says_nothing:
        raise UsageError("no message is named: give numbers, or --rule, --source, --type or --tenant")
    if numbers and not picked.says_nothing:
        raise UsageError("give numbers, or --rule, --source, --type and --tenant, not both")
    if not numbers:
        found = quarantine_of(parts).entries(limit=limit, picked=picked)
        if not found:
            raise UsageError("no open message is like that: see `tenantry quarantine list`")
        if len(found) == limit:
            err.print(f"there may be more than {limit}: repeat it, or raise --limit")
        return _Chosen([entry.number for entry in found], is_single=False)
    words = sys.stdin.read().split() if "-" in numbers else numbers
    wrong = next((word for word in words if not (word.isascii() and word.isdigit() and 0 < int(word) < 2**63)), None)
    if wrong is not None:
        raise UsageError(f"{wrong} is no number of a message: see `tenantry quarantine list`")
    return _Chosen(list(dict.fromkeys(map(int, words))), is_single=len(numbers) == 1 and "-" not in numbers)


def _one_by_one(chosen: _Chosen, act: Callable[[int], dict[str, Any]], as_json: bool) -> None:
    """Each message is told by itself, and one that is refused stops none of the others."""
    results: list[dict[str, Any]] = []
    for number in chosen.numbers:
        try:
            results.append(act(number))
        except TenantryError as error:
            if chosen.is_single or isinstance(error, Unavailable):
                raise
            results.append({"number": number, "outcome": "refused", "reason": str(error)})
        if not as_json:
            _say(results[-1])
    if as_json:
        print_json(results[0] if chosen.is_single else results)
    if any(result["outcome"] in ("quarantined", "refused") for result in results):
        raise typer.Exit(1)


def _say(result: dict[str, Any]) -> None:
    number, outcome = result["number"], result["outcome"]
    match outcome:
        case "refused":
            complain(result["reason"])
            return
        case "quarantined" if "refused_as" in result:
            said = f"message {number} was refused again, as message {result['refused_as']}"
            said += f": {result['rule']}: {result['reason']}"
        case "quarantined":
            said = f"message {number} was refused again: see `tenantry quarantine list`"
        case "discarded":
            said = f"message {number} discarded"
        case _:
            said = f"message {number}: {outcome}"
    out.print(said, markup=False, highlight=False, soft_wrap=True)


def _retried(parts: Parts, number: int, by: str) -> dict[str, Any]:
    entry = quarantine_of(parts).entry(number)
    _must_be_open(parts, number, "retried")
    body = quarantine_of(parts).body(entry)
    act = MessageRetried(**_named(entry), operator=by)
    acts_of(parts).record(act, still_right=lambda: _must_be_open(parts, number, "retried"))
    outcome = _again(parts, entry, body)
    _let_in(parts, entry)
    became = next(iter(outcome.counts), "nothing")
    result: dict[str, Any] = {"number": number, "outcome": became}
    again = quarantine_of(parts).refused_again(entry) if became == "quarantined" else None
    if again is not None:
        result |= {"refused_as": again.number, "rule": again.rule, "reason": again.reason}
    return result


def _discarded(parts: Parts, number: int, by: str, reason: str) -> dict[str, Any]:
    entry = quarantine_of(parts).entry(number)
    act = MessageDiscarded(**_named(entry), operator=by, reason=reason)
    acts_of(parts).record(act, still_right=lambda: _must_be_open(parts, number, "discarded"))
    _let_in(parts, entry)
    return {"number": number, "outcome": "discarded"}


def _again(parts: Parts, entry: Entry, body: bytes) -> Outcome:
    try:
        message = messages_of(parts).restored(body, entry.topic, entry.partition, entry.offset)
        return lifecycle_of(parts).intake([message], released=entry.number)
    except TenantryError:
        raise
    except Exception as error:
        raise TenantryError(f"message {entry.number} stays in quarantine: {faults.tell(error)}") from error


def _let_in(parts: Parts, entry: Entry) -> None:
    """What waited behind the message; should we end before this, the tenant's next message lets it in."""
    if entry.rule == INTERNAL_ERROR and entry.tenant_id is not None:
        lifecycle_of(parts).let_in(entry.tenant_id)


def _must_be_open(parts: Parts, number: int, becomes: str) -> None:
    state = quarantine_of(parts).entry(number).state
    if state != "open":
        raise UsageError(f"message {number} is {state} already: only an open one can be {becomes}")


def _named(entry: Entry) -> dict[str, Any]:
    """The message in an act: of its content nothing, and its tenant only where the id may be one."""
    named = is_tenant_id(entry.tenant_id)
    return {
        "tenant_id": entry.tenant_id if named else None,
        "number": entry.number,
        "rule": entry.rule,
        "topic": entry.topic,
        "partition": entry.partition,
        "offset": entry.offset,
    }


def _told(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "state": entry.state,
        "rule": entry.rule,
        "reason": entry.reason,
        "source": entry.source,
        "id": entry.id,
        "type": entry.type,
        "tenant_id": entry.tenant_id,
        "topic": entry.topic,
        "partition": entry.partition,
        "offset": entry.offset,
        "repeats": entry.repeats,
        "received_at": entry.received_at.isoformat(),
    }


def _place(entry: Entry) -> str:
    return f"{entry.topic}/{entry.partition}@{entry.offset}"


def _text(value: bytes | None) -> str | None:
    """Text as it is, other bytes escaped."""
    return None if value is None else json.dumps(value.decode("utf-8", "backslashreplace"), ensure_ascii=False)[1:-1]
