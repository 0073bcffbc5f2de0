"""Kafka positions of the intake: show and move."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from adapters.kafka.intake_standing import PartitionStanding
from cli.command import command
from cli.operators import By, Reason
from cli.output import Report
from cli.standings import standing_table, stands_still
from domain.errors import UsageError, problem
from domain.operator import Operator
from domain.operator_events import IntakePositionMoved
from runtime.compose import Parts
from runtime.compose.acts import acts_of
from runtime.compose.positions import standings_of

app = typer.Typer(help="Kafka positions of the intake: show, move.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
@command
def show(parts: Parts) -> Report:
    """Show each partition: the intake's position, Kafka's offsets, the messages not yet taken in, and the reader."""
    found = standings_of(parts)
    return Report([asdict(each) for each in found], [standing_table(found), *stands_still(found)])


@app.command()
@command
def move(
    parts: Parts,
    partition: Annotated[
        str, typer.Argument(metavar="TOPIC/PARTITION", help="The partition, as `intake-position show` prints it.")
    ],
    to: Annotated[
        int, typer.Option("--to", metavar="OFFSET", min=0, help="The offset of the next message to take in.")
    ],
    reason: Reason,
    by: By = "",
) -> Report:
    """Let the intake continue from another offset. Forward: the skipped messages are not taken in. Back: messages come
    again, and those that were taken in before count as duplicates."""
    found = _standing(parts, partition)
    if not found.start <= to <= found.end:
        raise UsageError(
            problem("offset-not-kept", to=to, partition=partition, start=found.start, end=found.end - 1, next=found.end)
        )
    act = IntakePositionMoved(
        topic=found.topic,
        topic_id=found.topic_id,
        partition=found.partition,
        before=found.position,
        offset=to,
        operator=by,
        reason=reason,
    )
    acts_of(parts).record(act, by=Operator.parse(by), still_right=lambda: _must_stand(parts, found))
    data = {"partition": partition, "before": found.position, "position": to, "by": by, "reason": reason}
    before = "its start" if found.position is None else f"offset {found.position}"
    return Report(data, [f"the intake continues in {partition} from offset {to}; before: {before}"])


def _standing(parts: Parts, name: str) -> PartitionStanding:
    found = standings_of(parts)
    for each in found:
        if each.name == name:
            return each
    there = ", ".join(each.name for each in found) or "none: run `tenantry migrate`"
    raise UsageError(problem("partition-unknown", name=name, there=there))


def _must_stand(parts: Parts, found: PartitionStanding) -> None:
    now = parts.log.positions([found.topic_id]).get((found.topic_id, found.partition))
    if now != found.position:
        raise UsageError(problem("partition-moved", found=found.name, position=found.position, now=now))
