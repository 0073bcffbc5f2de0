"""How does an operator deal with messages that could not be applied?"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from adapters.inbound import restore
from adapters.quarantine import Entry
from cli.operators import As, who, why
from cli.output import AsJson, DataDir, command, out, print_json, running_parts, table
from domain.acts import MessageDiscarded, MessageRetried
from domain.errors import UsageError
from domain.faults import INTERNAL_ERROR
from domain.names import is_tenant_id
from runtime.bootstrap import Parts

app = typer.Typer(
    help="Messages that could not be applied: list, show, retry, discard.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="The number from `quarantine list`.")]


@app.command("list")
@command
def list_(
    state: Annotated[Literal["open", "retried", "discarded"], typer.Option(help="Which messages to list.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 1000,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List messages, oldest first, with the rule that each broke."""
    with running_parts(data_dir) as parts:
        entries = parts.quarantine.entries(state=state, limit=limit)
    if as_json:
        print_json([_told(entry) for entry in entries])
        return
    rows = [
        (
            entry.number,
            entry.rule,
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
            ("number", "rule", "type", "tenant", "place on Kafka", "times", "reason"),
            rows,
        )
    )


@app.command()
@command
def show(number: Number, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one message whole. Its content may be about persons: it is unsealed for you, and goes nowhere else."""
    with running_parts(data_dir) as parts:
        entry = parts.quarantine.entry(number)
        message = restore(parts.quarantine.body(entry))
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
def retry(number: Number, as_name: As = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Put a message through the front door again: after the catalogue, or the state that refused it, has changed."""
    with running_parts(data_dir) as parts:
        entry = parts.quarantine.entry(number)
        message = parts.restored(parts.quarantine.body(entry), entry.topic, entry.partition, entry.offset)
        act = MessageRetried(**_named(entry), operator=who(as_name))
        parts.acts.record(act, still_right=lambda: _must_be_open(parts, number, "retried"))
        outcome = parts.lifecycle.intake([message], released=number)
        _let_in(parts, entry)
    became = next(iter(outcome.counts), "nothing")
    if as_json:
        print_json({"number": number, "outcome": became})
    elif became == "quarantined":
        out.print(f"message {number} was refused again: see `tenantry quarantine list`")
    else:
        out.print(f"message {number}: {became}")
    if became == "quarantined":
        raise typer.Exit(1)


@app.command()
@command
def discard(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why it may be left out; kept in the log for good.")],
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Close a message without applying it. It is kept, with who discarded it and why."""
    said = why(reason)
    with running_parts(data_dir) as parts:
        entry = parts.quarantine.entry(number)
        act = MessageDiscarded(**_named(entry), operator=who(as_name), reason=said)
        parts.acts.record(act, still_right=lambda: _must_be_open(parts, number, "discarded"))
        _let_in(parts, entry)
    if as_json:
        print_json({"number": number, "outcome": "discarded"})
    else:
        out.print(f"message {number} discarded")


def _let_in(parts: Parts, entry: Entry) -> None:
    """What waited behind the message; should we end before this, the tenant's next message lets it in."""
    if entry.rule == INTERNAL_ERROR and entry.tenant_id is not None:
        parts.lifecycle.let_in(entry.tenant_id)


def _must_be_open(parts: Parts, number: int, becomes: str) -> None:
    state = parts.quarantine.entry(number).state
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
