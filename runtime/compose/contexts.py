"""Tenant contexts: the projector that keeps them, the recorder of what is in force, and what a service reads."""

from __future__ import annotations

from adapters.postgres.contexts import ContextReader, ContextStore
from adapters.postgres.in_force import InForceStream
from application.in_force import InForceRecorder
from domain.configuration import Configuration
from domain.errors import UsageError, problem
from projections.contexts import ContextRules
from runtime import proposal
from runtime.compose.parts import Parts
from runtime.compose.process import new_id, once, utc_now
from runtime.settings import Settings

AGENT_SECONDS = 0.25
"""For how long the high-water agent waits for an append (adapters/postgres/high_water.py)."""


def context_store_of(parts: Parts) -> ContextStore:
    return parts.closing(ContextStore(parts.endpoints.database_url))


@once
def context_reader_of(parts: Parts) -> ContextReader:
    return parts.closing(ContextReader(parts.endpoints.database_url))


def context_rules_of(parts: Parts, configuration: Configuration) -> ContextRules:
    """What documents are derived with; the address of a shard is where product roles reach it."""
    shards = proposal.shards_of(configuration.topology, parts.settings, parts.endpoints)
    return ContextRules(
        configuration.catalog,
        {shard.name: ":".join(map(str, shard.reached_at())) for shard in shards if shard.url},
    )


@once
def in_force_stream_of(parts: Parts) -> InForceStream:
    return parts.closing(InForceStream(parts.endpoints.database_url))


def in_force_recorder_of(parts: Parts) -> InForceRecorder:
    return InForceRecorder(
        parts.log,
        in_force_stream_of(parts),
        clock=utc_now,
        new_id=new_id,
        lease_seconds=parts.settings.context_lease_seconds,
    )


def check_lease(settings: Settings) -> None:
    """T exceeds what an ordinary failover takes: else every access is refused at each of them. Raises UsageError."""
    stall = settings.append_timeout_seconds + AGENT_SECONDS + settings.database_failover_seconds
    if settings.context_lease_seconds <= stall:
        raise UsageError(
            problem(
                "context-lease-too-short",
                context_lease_seconds=f"{settings.context_lease_seconds:g}",
                stall=f"{stall:g}",
            )
        )
