"""Audit of the intake: proof that the intake has lost no message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from adapters.kafka.ports import Partition
from application.inbound import Inbound
from audit.intake_audit import IntakeAudited, Reread
from cli.command import Judged, command
from cli.operators import By, why_if_given
from cli.output import Line, Report, and_more, table
from cli.progress import progress
from domain.errors import UsageError, problem
from domain.operator import Operator
from domain.operator_events import MessagesReread
from runtime.compose import Parts
from runtime.compose.acts import acts_of
from runtime.compose.intake import lifecycle_of
from runtime.compose.positions import intake_audit_of, standings_of


@command
def intake(
    parts: Parts,
    reread: Annotated[bool, typer.Option("--reread", help="Take in the missing messages; give the reason.")] = False,
    reason: Annotated[
        str | None,
        typer.Option(help="The reason for the second reading; kept in the log for good."),
        Judged(why_if_given),
    ] = None,
    by: By = "",
) -> Report:
    """Check that each message on Kafka, up to the intake's position, was taken in or quarantined. Exit 1 if not.

    With --reread the missing messages are taken in; then the exit code is 1 if some of them were quarantined.
    """
    if reread and reason is None:
        raise UsageError(problem("reread-without-reason"))
    if reason is not None and not reread:
        raise UsageError(problem("reason-without-reread"))
    with progress("reading Kafka again", "messages") as say:
        again = _reread(parts, reason, by) if reason is not None else None
        audited = intake_audit_of(parts, say).audit(standings_of(parts), again)
    data = {
        "messages": audited.messages,
        "partitions": [asdict(each) for each in audited.partitions],
        "missing": [asdict(each) for each in audited.missing],
        "more": audited.more,
        "reread": dict(audited.reread) if reread else None,
        "seconds": round(audited.seconds, 3),
    }
    is_bad = (audited.missing and not reread) or audited.reread["quarantined"]
    return Report(data, _text(audited, reread=reread), good=not is_bad)


def _reread(parts: Parts, reason: str, by: str) -> Reread:
    def take(partition: Partition, messages: Sequence[Inbound]) -> Counter[str]:
        act = MessagesReread(
            topic=partition.topic,
            topic_id=partition.topic_id,
            partition=partition.partition,
            offsets=tuple(message.offset for message in messages),
            operator=by,
            reason=reason,
        )
        acts_of(parts).record(act, by=Operator.parse(by))
        return lifecycle_of(parts).intake(messages).counts

    return take


def _text(audited: IntakeAudited, *, reread: bool) -> Iterator[Line]:
    rows = [(each.topic, each.partition, each.offset, each.source, each.id) for each in audited.missing]
    if rows:
        yield table("Not taken in", ("topic", "partition", "offset", "source", "id"), rows)
    yield from and_more(audited.more)
    if reread:
        became = ", ".join(f"{count} {name}" for name, count in sorted(audited.reread.items())) or "nothing was missing"
        yield f"read again: {became}"
    elif not rows:
        rate = audited.messages / audited.seconds if audited.seconds else 0
        yield (
            f"all {audited.messages} messages that Kafka keeps up to our positions were taken in or quarantined"
            f" ({rate:,.0f} a second)"
        )
