"""Table of the intake's position in each partition."""

from __future__ import annotations

from adapters.kafka.intake_standing import PartitionStanding
from cli.output import Table, table


def standing_table(found: list[PartitionStanding]) -> Table:
    rows = [(each.name, each.position, each.start, each.end, each.lag, each.reader or "no worker") for each in found]
    return table("intake", ("partition", "position", "start", "end", "lag", "read by"), rows)


def stands_still(found: list[PartitionStanding]) -> list[str]:
    """The reason of each partition that does not move."""
    return [each.stands_still for each in found if each.stands_still]
