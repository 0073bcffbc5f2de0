"""How does an auditor see that no message was lost on its way in?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from adapters.kafka.ports import Partition
from application.inbound import Inbound
from audit.intake_audit import IntakeAudited, Reread
from cli.operators import As, who, why
from cli.output import AsJson, DataDir, command, out, print_json, running_parts, table
from cli.progress import progress
from domain.errors import UsageError
from domain.operator_events import MessagesReread
from runtime.compose import Parts
from runtime.compose.intake import lifecycle_of
from runtime.compose.operators import acts_of
from runtime.compose.positions import intake_audit_of, standings_of


@command
def intake(
    reread: Annotated[bool, typer.Option("--reread", help="Take in what is missing; give the reason.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why it is read again; kept in the log for good.")] = None,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Look whether each message that Kafka still keeps, up to our position, was taken in or quarantined. Exit 1 if not.

    With --reread what is missing is taken in, and the exit code is 1 where some of it was quarantined.
    """
    if reread and reason is None:
        raise UsageError("--reread takes messages in: say why, with --reason")
    if reason is not None and not reread:
        raise UsageError("--reason belongs to --reread: add that, or leave the reason out")
    because = why(reason) if reason is not None else None
    with running_parts(data_dir) as parts, progress("reading Kafka again", "messages") as say:
        again = _reread(parts, because, who(as_name)) if because is not None else None
        audited = intake_audit_of(parts, say).audit(standings_of(parts), again)
    if as_json:
        print_json(_as_json(audited, is_reread=reread))
    else:
        _show(audited, is_reread=reread)
    if (audited.missing and not reread) or audited.reread["quarantined"]:
        raise typer.Exit(1)


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
        acts_of(parts).record(act)
        return lifecycle_of(parts).intake(messages).counts

    return take


def _as_json(audited: IntakeAudited, *, is_reread: bool) -> dict[str, Any]:
    return {
        "messages": audited.messages,
        "partitions": [asdict(each) for each in audited.partitions],
        "missing": [asdict(each) for each in audited.missing],
        "more": audited.more,
        "reread": dict(audited.reread) if is_reread else None,
        "seconds": round(audited.seconds, 3),
    }


def _show(audited: IntakeAudited, *, is_reread: bool) -> None:
    rows = [(each.topic, each.partition, each.offset, each.source, each.id) for each in audited.missing]
    if rows:
        out.print(table("Not taken in", ("topic", "partition", "offset", "source", "id"), rows))
    if audited.more:
        out.print(f"and {audited.more} more", highlight=False)
    if is_reread:
        became = ", ".join(f"{count} {name}" for name, count in sorted(audited.reread.items())) or "nothing was missing"
        out.print(f"read again: {became}", highlight=False)
    elif not rows:
        rate = audited.messages / audited.seconds if audited.seconds else 0
        out.print(
            f"all {audited.messages} messages that Kafka keeps up to our positions were taken in or quarantined"
            f" ({rate:,.0f} a second)",
            highlight=False,
        )
