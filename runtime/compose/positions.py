"""Positions of the intake on Kafka, and the audit that reads all messages again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adapters.kafka.intake_standing import PartitionStanding, standings
from adapters.kafka.ports import knock
from adapters.kafka.raw_reader import PartitionReader
from runtime.compose.process import Process, once

if TYPE_CHECKING:
    from application.progress import Progress
    from audit.intake_audit import IntakeAudit
    from runtime.compose.parts import Parts


@once
def partition_reader_of(parts: Process) -> PartitionReader:
    """Raises Unavailable where no broker answers, and soon where none listens: a command waits for none to start."""
    knock(parts.endpoints.kafka_bootstrap, 0.2)
    return parts.closing(PartitionReader(parts.endpoints.kafka_bootstrap, connect_seconds=2))


def standings_of(parts: Process) -> list[PartitionStanding]:
    """How far the intake is in each of its partitions."""
    topics = [parts.settings.commerce_topic, parts.settings.lifecycle_topic]
    return standings(parts.endpoints.database_url, partition_reader_of(parts), topics)


def intake_audit_of(parts: Parts, say: Callable[[Progress], None]) -> IntakeAudit:
    from adapters.postgres.known_messages import KnownMessages  # noqa: PLC0415
    from audit.intake_audit import IntakeAudit  # noqa: PLC0415
    from runtime.compose.intake import messages_of  # noqa: PLC0415

    known = parts.closing(KnownMessages(parts.endpoints.database_url))
    return IntakeAudit(partition_reader_of(parts), known, messages_of(parts).read, say)
