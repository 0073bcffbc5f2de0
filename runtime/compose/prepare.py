"""Preparation: databases, migrations, keys, configuration, shards and topics as this version needs them."""

from __future__ import annotations

from psycopg import errors, sql

from adapters.kafka.kafka_python import ensure_topics
from adapters.postgres import migrations
from adapters.postgres.connection import LONG, connect
from adapters.postgres.errors import answering
from adapters.postgres.reader_role import ensure_reader_role
from domain.errors import Unavailable, UsageError, problem
from domain.operator import Operator
from domain.tenant.approval import pending_approvals_of
from runtime import proposal
from runtime.compose.kafka import client_of
from runtime.compose.parts import Parts
from runtime.settings import database_of_shard


def prepare(parts: Parts, *, adopts: bool = True, by: Operator | None = None) -> None:
    """Databases, migrations, keys, configuration, shards and topics: all as this version needs them. Idempotent.

    A store without an adopted configuration adopts what is at hand, but where it is only prepared to be looked into.
    """
    client_of(parts.settings)  # before anything is changed
    parts.knock()
    migrations.migrate(parts.endpoints.database_url)
    ensure_reader_role(parts.endpoints.database_url)
    parts.keys.verify()
    if adopts and parts.adopting.adopted().version == 0:
        parts.adopting.adopt_first(parts.at_hand, reason="the first start", by=by or Operator.parse(proposal.account()))
    count_pending_approvals(parts)
    prepare_shards(parts)
    prepare_topics(parts)


def prepare_shards(parts: Parts) -> None:
    """Every shard of the configuration in use can take families, and is known to the control database."""
    _ensure_databases(parts)
    parts.topology.prepare()
    with answering(), connect(parts.endpoints.database_url) as connection:
        parts.topology.sync(connection)


def count_pending_approvals(parts: Parts) -> None:
    """What the destroy guard holds, from the tenants' streams, where a migration has made its table anew."""
    for tenant_id, snapshot in parts.saga.snapshots(parts.log.not_counted()).items():
        parts.log.count_pending_approvals(tenant_id, pending_approvals_of(snapshot.tenant))


def prepare_topics(parts: Parts) -> None:
    settings = parts.settings
    ensure_topics(
        parts.endpoints.kafka_bootstrap,
        {
            settings.commerce_topic: settings.topic_partitions,
            settings.lifecycle_topic: settings.topic_partitions,
            settings.provisioning_topic: settings.topic_partitions,
            **({settings.replies_topic: settings.topic_partitions} if parts.catalog.is_foreign else {}),
            **dict.fromkeys(parts.catalog.command_topics(), settings.topic_partitions),
        },
    )


def _ensure_databases(parts: Parts) -> None:
    """Shards without a url are databases of the server that holds the log; they are made there."""
    elsewhere = {shard.name for shard in parts.settings.topology if shard.url is not None}
    names = [
        database_of_shard(shard.name)
        for shard in parts.configuration.topology.shards
        if shard.address is None and shard.name not in {*elsewhere, *parts.endpoints.shard_urls}
    ]
    url = parts.endpoints.database_url
    try:
        with answering(), connect(url, limits=LONG, autocommit=True) as connection:
            rows = connection.execute("SELECT datname FROM pg_database WHERE datname = ANY(%s)", (names,))
            there = {str(name) for (name,) in rows.fetchall()}
            for name in names:
                if name not in there:
                    made = sql.Identifier(name)
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(made))
                    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(made))
    except Unavailable as error:
        if not isinstance(error.__cause__, errors.InsufficientPrivilege):
            raise
        raise UsageError(problem("shard-databases-missing", names=", ".join(names))) from error
