"""Which concrete classes work together?

The one place that names them. `Parts` holds what a process needs, made when it is first asked for and closed together;
the functions below build each worker from it. `prepare` brings databases, shards and topics into the state that this
version needs, and may be run any number of times.
"""

from __future__ import annotations

import hmac
import os
import random
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

from psycopg import errors, sql
from sqlalchemy import Engine, text

from adapters.encryption import MasterKey, PostgresEncryptionKeys
from adapters.files.worker_cards import WorkerCard
from adapters.kafka import cloudevents_reader as inbound
from adapters.kafka.intake_standing import Standing, standings
from adapters.kafka.kafka_python import KafkaPythonConsumer, KafkaPythonProducer, ensure_topics, topic_ids
from adapters.kafka.ports import Consumer, Message, OnAssign, Producer
from adapters.kafka.raw_reader import PartitionReader
from adapters.kafka.record_batches import require_codecs
from adapters.outage import Outage
from adapters.postgres import migrations
from adapters.postgres.connection import LONG, Limits, connect
from adapters.postgres.engine import engine
from adapters.postgres.errors import answering
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.heartbeats import Heartbeat
from adapters.postgres.high_water import HighWaterAgent, MarkListener
from adapters.postgres.known_messages import KnownMessages
from adapters.postgres.living_products import living
from adapters.postgres.log_copy import LogCopy
from adapters.postgres.log_faults import LogFaults
from adapters.postgres.log_import import LogImport
from adapters.postgres.log_reader import LogReader
from adapters.postgres.orphan_plans import OrphanPlans
from adapters.postgres.outbox import PostgresOutbox
from adapters.postgres.past import PastLog
from adapters.postgres.quarantine import Quarantine
from adapters.postgres.seal_store import SealStore
from adapters.postgres.sessions import Pool, Sessions
from adapters.postgres.sweeps import PostgresLedger
from adapters.provisioners import replies
from adapters.provisioners.foreign import check_secrets
from adapters.provisioners.signed_requests import SigningSecret
from adapters.resources.executors import executors
from adapters.resources.observing import Observer
from adapters.resources.removing import Remover
from adapters.resources.topology import Topology
from application.adoption import Adopting
from application.commerce_comparison import Comparing
from application.database_recreation import Recreating
from application.drift_detection import Reconciling
from application.drift_sweep import Sweeping
from application.ingest import Inbound, Lifecycle, Readable, Unreadable, set_aside
from application.operator_acts import Acts
from application.operator_commands import Operating
from application.orphan_removal import Clearing
from application.ports import Reply, WaitingMessage
from application.progress import Progress
from application.reconcile import Saga
from audit.checkpoints import Keyring
from audit.importing import Keys
from audit.intake_audit import IntakeAudit
from audit.last_signed import LastSigned
from audit.read_model_check import Views
from audit.seal import Seal
from audit.verification import Verification
from domain.catalog import Catalog
from domain.configuration import Adopted, Configuration, Living
from domain.errors import Unavailable, UsageError
from domain.faults import INTERNAL_ERROR
from domain.policy import Policy
from domain.tenant.approval import pending_approvals_of
from history.rebuild.replay import Replay
from projections import PROJECTIONS
from projections.base import Projection
from runtime import faults, proposal
from runtime.instance import Endpoints
from runtime.master_key import load_master_key
from runtime.seal_keys import load_seal_keys
from runtime.settings import Settings, database_of_shard
from runtime.webhook_secrets import load_webhook_secrets


def utc_now() -> datetime:
    return datetime.now(UTC)


class Parts:
    """What one process is made of. Use as a context manager; leaving it closes what was opened."""

    def __init__(
        self, settings: Settings, endpoints: Endpoints, *, warn: Callable[[str], None] = lambda _: None
    ) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self.warn = warn
        self.adopted = Adopted()
        self._configuration: Configuration | None = None
        self._closing = ExitStack()
        self._connecting = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    # -- configuration ------------------------------------------------------------------------------------------------

    @cached_property
    def at_hand(self) -> Configuration:
        """What files and settings say: a proposal, which counts as long as nothing was adopted."""
        return proposal.proposed(self.settings)

    @property
    def configuration(self) -> Configuration:
        """What every process uses."""
        if self._configuration is None:
            self.adopted = self.adopting.adopted()
            self._configuration = self.adopted.configuration or self.at_hand
            if warning := proposal.warning(self.adopted, self.settings):
                self.warn(warning)
        return self._configuration

    @property
    def catalog(self) -> Catalog:
        return self.configuration.catalog

    @property
    def policy(self) -> Policy:
        return self.configuration.policy

    def use(self, configuration: Configuration) -> None:
        """From here on this is the configuration: what was made of another one is made anew when it is asked for."""
        self._configuration = configuration
        if "topology" in self.__dict__:
            self.topology.use(
                proposal.shards_of(configuration.topology, self.settings, self.endpoints),
                default_region=configuration.topology.default_region,
                patience=proposal.patience_of(configuration.policy),
            )
        for made in ("executors", "operating", "reconciling", "recreating", "clearing"):
            self.__dict__.pop(made, None)

    def learn(self) -> None:
        """Use what was adopted since."""
        adopted = self.adopting.adopted()
        if adopted.version != self.adopted.version and (found := adopted.configuration) is not None:
            self.adopted = adopted
            self.use(found)

    def configuration_in_use(self) -> Iterator[str]:
        """Which one it is, and where another was looked for, in lines for people."""
        _ = self.configuration
        return proposal.in_use(self.adopted, self.settings)

    def configuration_at(self, position: int) -> Configuration:
        """The one that held at a position of the log."""
        return self.past.adopted_at(position).configuration or self.at_hand

    @cached_property
    def adopting(self) -> Adopting:
        return Adopting(log=self.log, living=self._living, clock=utc_now, new_id=new_id)

    def _living(self, before: Configuration | None, proposed: Configuration) -> Living:
        return living(
            self.endpoints.database_url,
            known=before.catalog if before is not None else None,
            proposed=proposed.catalog,
            facts_of=lambda tenant_id: self.past.facts_of(tenant_id, self.log.advance_mark()),
        )

    # -- data ---------------------------------------------------------------------------------------------------------

    @cached_property
    def master_key(self) -> bytes:
        return load_master_key(self.settings)

    @cached_property
    def topology(self) -> Topology:
        configuration = self.configuration
        topology = Topology(
            proposal.shards_of(configuration.topology, self.settings, self.endpoints),
            default_region=configuration.topology.default_region,
            patience=proposal.patience_of(configuration.policy),
            keep=self.settings.provisioner_shard_limit,
        )
        self._closing.callback(topology.close)
        return topology

    # -- adapters -----------------------------------------------------------------------------------------------------

    def knock(self) -> None:
        """Raises Unavailable where the database does not answer."""
        connect(self.endpoints.database_url).close()

    @cached_property
    def keys(self) -> PostgresEncryptionKeys:
        pool = pool_of(self.endpoints.database_url, keep=2)
        self._closing.callback(pool.close)
        return PostgresEncryptionKeys(pool, MasterKey(self.master_key))

    @cached_property
    def log(self) -> PostgresEventLog:
        log = PostgresEventLog(
            self.endpoints.database_url,
            self.keys,
            append_timeout_seconds=self.settings.append_timeout_seconds,
        )
        self._closing.callback(log.close)
        return log

    @cached_property
    def engine(self) -> Engine:
        """For the read models."""
        made = engine(self.endpoints.database_url, pool_size=2)
        self._closing.callback(made.dispose)
        return made

    @cached_property
    def projector_engine(self) -> Engine:
        """For a projector: what it commits can be made again from the log, so no commit waits for the disk."""
        made = projector_engine(self.endpoints.database_url)
        self._closing.callback(made.dispose)
        return made

    @cached_property
    def log_reader(self) -> LogReader:
        reader = LogReader(self.endpoints.database_url, self.keys)
        self._closing.callback(reader.close)
        return reader

    @cached_property
    def past(self) -> PastLog:
        self.knock()
        past = PastLog(self.endpoints.database_url, self.keys)
        self._closing.callback(past.close)
        return past

    @cached_property
    def mark_listener(self) -> MarkListener:
        listener = MarkListener(self.endpoints.database_url)
        self._closing.callback(listener.close)
        return listener

    @cached_property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.endpoints.database_url, self.keys)

    @cached_property
    def outbox(self) -> PostgresOutbox:
        return PostgresOutbox(self.endpoints.database_url)

    @cached_property
    def _control(self) -> Sessions:
        url, keep = self.endpoints.database_url, self.settings.provisioner_executor_limit
        control = Sessions(lambda: connect(url, autocommit=True), keep=keep)
        self._closing.callback(control.close)
        return control

    def executors_of(self, configuration: Configuration) -> Any:
        """The executors of a configuration that was adopted while this process runs; it is used from here on."""
        self.use(configuration)
        return self._make_executors()

    @cached_property
    def executors(self) -> Any:
        check_secrets(self.catalog, self.webhook_secrets)
        return self._make_executors()

    def _make_executors(self) -> Any:
        return executors(
            control=self._control,
            topology=self.topology,
            catalog=self.catalog,
            site_domain=self.settings.site_domain,
            master_key=self.master_key,
            webhook_secrets=self.webhook_secrets,
            producer=self._commands,
        )

    @cached_property
    def webhook_secrets(self) -> Mapping[str, SigningSecret]:
        secrets = load_webhook_secrets(self.settings)
        return {name: SigningSecret.parse(secret, name=name) for name, secret in secrets.items()}

    def _commands(self) -> Producer:
        """Sends commands to the provisioners of others, for all threads; connects with the first."""
        with self._connecting:
            return self._command_producer

    @cached_property
    def _command_producer(self) -> Producer:
        producer = self.producer()
        self._closing.callback(producer.close)
        return producer

    # -- applications -------------------------------------------------------------------------------------------------

    @cached_property
    def lifecycle(self) -> Lifecycle:
        return Lifecycle(
            log=self.log,
            catalog=self.catalog,
            policy=self.policy,
            clock=utc_now,
            new_id=new_id,
            reread=self.reread,
            on_fault=faults.tell,
        )

    @cached_property
    def saga(self) -> Saga:
        return Saga(
            self.log,
            catalog=self.catalog,
            policy=self.policy,
            clock=utc_now,
            new_id=new_id,
            dice=random.random,
        )

    @cached_property
    def operating(self) -> Operating:
        return Operating(
            log=self.log,
            snapshots=self.saga.snapshots,
            catalog=self.catalog,
            policy=self.policy,
            clock=utc_now,
            new_id=new_id,
        )

    @cached_property
    def acts(self) -> Acts:
        return Acts(log=self.log, clock=utc_now, new_id=new_id)

    @cached_property
    def reconciling(self) -> Reconciling:
        url = self.endpoints.database_url
        return Reconciling(
            log=self.log,
            snapshots=self.saga.snapshots,
            streams_after=self.log.streams_after,
            looking=Observer(lambda: connect(url), self.topology, self.catalog, master_key=self.master_key),
            catalog=self.catalog,
            policy=self.policy,
            clock=utc_now,
            new_id=new_id,
        )

    @cached_property
    def recreating(self) -> Recreating:
        return Recreating(
            log=self.log,
            snapshots=self.saga.snapshots,
            observe=self.reconciling.looking.observe,
            catalog=self.catalog,
            clock=utc_now,
            new_id=new_id,
        )

    @cached_property
    def comparing(self) -> Comparing:
        return Comparing(log=self.log, snapshots=self.saga.snapshots, streams_after=self.log.streams_after)

    @cached_property
    def sweep_ledger(self) -> PostgresLedger:
        ledger = PostgresLedger(self.endpoints.database_url)
        self._closing.callback(ledger.close)
        return ledger

    @contextmanager
    def sweeping(self) -> Iterator[Sweeping]:
        """The background sweep, with parts of its own: it runs in a thread of its own."""
        with Parts(self.settings, self.endpoints) as own:

            def reconciling() -> Reconciling:
                own.learn()
                return own.reconciling

            yield Sweeping(
                reconciling=reconciling,
                ledger=own.sweep_ledger,
                drift=own.policy.drift,
                clock=utc_now,
                interval=timedelta(seconds=self.settings.sweep_interval_seconds),
                pause=timedelta(milliseconds=self.settings.sweep_pause_milliseconds),
            )

    @cached_property
    def clearing(self) -> Clearing:
        url = self.endpoints.database_url
        control = lambda: connect(url)  # noqa: E731
        return Clearing(
            log=self.log,
            streams_after=self.log.streams_after,
            mark=self.log.advance_mark,
            started_after=self.log.started_after,
            looking=Observer(control, self.topology, self.catalog, master_key=self.master_key),
            removing=Remover(control, self.topology),
            plans=OrphanPlans(url),
            drift=self.policy.drift,
            clock=utc_now,
            new_id=new_id,
        )

    def replay(self, say: Callable[[Progress], None]) -> Replay:
        return Replay(self.replay_sources, say=say)

    @property
    def replay_sources(self) -> ReplaySources:
        return ReplaySources(self.endpoints.database_url, self.master_key)

    def views(self, say: Callable[[Progress], None]) -> Views:
        self.knock()
        return Views(ReplaySources(self.endpoints.database_url, self.master_key), say=say)

    # -- the seal over the log ----------------------------------------------------------------------------------------

    @cached_property
    def seal_keys(self) -> Keyring:
        return load_seal_keys(self.settings)

    @cached_property
    def seal(self) -> Seal:
        return Seal(self._seal_store(), self.seal_keys, last=self.last_signed)

    @cached_property
    def last_signed(self) -> LastSigned:
        return LastSigned(self.settings.seal_checkpoint_path)

    def verification(self, say: Callable[[Progress], None]) -> Verification:
        return Verification(self._seal_store(), self.seal_keys, say=say)

    def _seal_store(self) -> SealStore:
        self.knock()
        store = SealStore(self.endpoints.database_url)
        self._closing.callback(store.close)
        return store

    # -- the log as a file --------------------------------------------------------------------------------------------

    @cached_property
    def log_copy(self) -> LogCopy:
        self.knock()
        copy = LogCopy(self.endpoints.database_url)
        self._closing.callback(copy.close)
        return copy

    @cached_property
    def log_faults(self) -> LogFaults:
        self.knock()
        faults = LogFaults(self.endpoints.database_url)
        self._closing.callback(faults.close)
        return faults

    @cached_property
    def log_import(self) -> LogImport:
        self.knock()
        return LogImport(self.endpoints.database_url)

    def exported_keys(self, path: Path) -> Keys:
        return Keys(path, MasterKey(self.master_key))

    # -- messages -----------------------------------------------------------------------------------------------------

    @cached_property
    def _message_digest(self) -> hmac.HMAC:
        """Digests of messages are keyed: nobody who reads the table can try out who a message was about."""
        return hmac.new(hmac.digest(self.master_key, b"tenantry.message-digest.v1", "sha256"), digestmod="sha256")

    def read(self, message: Message) -> Inbound:
        """A message on Kafka, as the lifecycle takes it."""
        why = message.undecodable
        read = inbound.read(message) if why is None else inbound.undecodable(message, why)
        return self._placed(read, message.topic, message.partition, message.offset)

    def reread(self, waiting: WaitingMessage) -> Inbound:
        """A message from the waiting room, as it came."""
        return self.restored(waiting.body, waiting.topic, waiting.partition, waiting.offset)

    def restored(self, body: bytes, topic: str, partition: int, offset: int) -> Inbound:
        """A stored message through the front door again."""
        return self._placed(inbound.read(inbound.restore(body)), topic, partition, offset)

    def refused(self, message: Message, error: Exception) -> Iterator[Inbound]:
        """As what a message is quarantined that met an unexpected error: with all that is known of it; as it came, of
        the tenant that its key names; and as nobody's, where the fault lies in the tenant's keys."""
        reason = faults.tell(error)
        place = message.topic, message.partition, message.offset
        read: Inbound | None = None
        with suppress(Exception):  # it may be the reading that fails
            read = self.read(message)
        if read is not None:
            yield set_aside(read, reason)
        unread = inbound.unread(message, INTERNAL_ERROR, reason)
        if message.topic == self.settings.lifecycle_topic:
            yield self._placed(replace(unread, tenant_id=inbound.tenant_in_key(message)), *place)
        yield self._placed(unread, *place)

    def _placed(
        self, read: inbound.InboundMessage | inbound.Unreadable, topic: str, partition: int, offset: int
    ) -> Inbound:
        keyed = self._message_digest.copy()  # half the work is done with the key
        keyed.update(read.digest)
        digest = keyed.digest()
        if isinstance(read, inbound.InboundMessage):
            return Readable(
                source=read.source,
                id=read.id,
                type=read.type,
                time=read.time,
                revision=read.revision,
                command=read.command,
                digest=digest,
                whole=partial(inbound.preserve, read.original),
                topic=topic,
                partition=partition,
                offset=offset,
            )
        return Unreadable(
            rule=read.rule,
            explanation=read.explanation,
            source=read.source,
            id=read.id,
            type=read.type,
            tenant_id=read.tenant_id,
            customer_id=read.customer_id,
            digest=digest,
            body=read.body,
            topic=topic,
            partition=partition,
            offset=offset,
        )

    # -- Kafka --------------------------------------------------------------------------------------------------------

    def consumer(self, on_assign: OnAssign) -> Consumer:
        settings = self.settings
        make, _ = _kafka_client(settings)
        return make(
            self.endpoints.kafka_bootstrap,
            group=settings.consumer_group,
            topics=[settings.commerce_topic, settings.lifecycle_topic],
            on_assign=on_assign,
        )

    @cached_property
    def partition_reader(self) -> PartitionReader:
        """Raises Unavailable where no broker answers."""
        reader = PartitionReader(self.endpoints.kafka_bootstrap, connect_seconds=2)
        self._closing.callback(reader.close)
        return reader

    def standings(self) -> list[Standing]:
        """How far the intake is in each of its partitions."""
        topics = [self.settings.commerce_topic, self.settings.lifecycle_topic]
        return standings(self.endpoints.database_url, self.partition_reader, topics)

    def intake_audit(self, say: Callable[[Progress], None]) -> IntakeAudit:
        known = KnownMessages(self.endpoints.database_url)
        self._closing.callback(known.close)
        return IntakeAudit(self.partition_reader, known, self.read, say)

    def reply_consumer(self, on_assign: OnAssign) -> Consumer:
        make, _ = _kafka_client(self.settings)
        group = f"{self.settings.consumer_group}-replies"
        return make(
            self.endpoints.kafka_bootstrap, group=group, topics=[self.settings.replies_topic], on_assign=on_assign
        )

    def reply(self, message: Message) -> Reply | None:
        """A message on the topic of replies, as it is stored."""
        return replies.read(message, self.catalog, self.webhook_secrets)

    def pass_reply(self, _: Message, error: Exception) -> Iterator[Reply | None]:
        """A reply that met an unexpected error is passed: whoever waits for it asks again."""
        faults.tell(error)
        yield None

    def producer(self) -> Producer:
        _, make = _kafka_client(self.settings)
        return make(self.endpoints.kafka_bootstrap)

    def provisioning_topic_id(self) -> str:
        name = self.settings.provisioning_topic
        found = topic_ids(self.endpoints.kafka_bootstrap, [name])
        if name not in found:
            raise Unavailable(f"topic {name} is not there: run `tenantry migrate`")
        return found[name]

    # -- workers ------------------------------------------------------------------------------------------------------

    def high_water_agent(self) -> HighWaterAgent:
        return HighWaterAgent(self.endpoints.database_url)

    def heartbeat(
        self, kind: str, details: Any = dict, *, name: str | None = None, outages: Sequence[Outage] = ()
    ) -> Heartbeat:
        name = name or worker_name(kind)
        card = WorkerCard(self.settings.data_dir, name=name, kind=kind)
        url = self.endpoints.database_url
        return Heartbeat(url, name=name, kind=kind, details=details, outages=outages, card=card)

    def peers(self, kind: str) -> list[str]:
        """The names of the workers of that kind that gave a sign of life in the last 3 seconds."""
        query = text("SELECT name FROM workers WHERE kind = :kind AND seen_at > now() - interval '3 seconds'")
        with self.projector_engine.connect() as connection:
            return list(connection.execute(query, {"kind": kind}).scalars())


@dataclass(frozen=True, slots=True)
class ReplaySources:
    """What a worker of a rebuild opens for itself. It is handed to that process by a pipe, never on a command line."""

    url: str = field(repr=False)
    master_key: bytes = field(repr=False)

    def reader(self) -> LogReader:
        pool = pool_of(self.url, keep=1)
        return LogReader(self.url, PostgresEncryptionKeys(pool, MasterKey(self.master_key)), close=pool.close)

    def engine(self) -> Engine:
        return projector_engine(self.url)

    def read_models(self) -> Sequence[Projection]:
        return PROJECTIONS


def projector_engine(url: str) -> Engine:
    """One connection whose commits do not wait for the disk: what it writes can be made again from the log."""

    limits = Limits(statement=0, lock=0, idle_in_transaction=30)
    return engine(url, pool_size=1, limits=limits, settings={"synchronous_commit": "off"})


def pool_of(url: str, *, keep: int) -> Pool:
    """Sessions of the control database."""
    return Pool(lambda: connect(url, autocommit=True), keep=keep)


def new_id() -> UUID:
    """As uuid4, but the operating system is asked for randomness once for many: each time takes it 15 microseconds."""
    while True:
        try:
            return UUID(bytes=_randomness.pop(), version=4)
        except IndexError:
            drawn = os.urandom(16 * 256)
            _randomness.extend(drawn[at : at + 16] for at in range(0, len(drawn), 16))


_randomness: list[bytes] = []
os.register_at_fork(after_in_child=_randomness.clear)  # or two processes would draw the same


def worker_name(kind: str) -> str:
    """Unique among all workers that ever run: the same pid on the same host may come again."""
    return f"{kind}-{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"


def lease_of(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.lease_seconds)


# -- preparing -----------------------------------------------------------------------------------------------------


def prepare(parts: Parts, *, adopts: bool = True, by: str | None = None) -> None:
    """Databases, migrations, keys, configuration, shards and topics: all as this version needs them. Idempotent.

    A store without an adopted configuration adopts what is at hand, but where it is only prepared to be looked into.
    """
    _kafka_client(parts.settings)  # before anything is changed
    parts.knock()
    migrations.migrate(parts.endpoints.database_url)
    parts.keys.verify()
    if adopts and parts.adopting.adopted().version == 0:
        parts.adopting.adopt_first(parts.at_hand, reason="the first start", by=by or proposal.account())
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
    wanted_names = [
        database_of_shard(shard.name)
        for shard in parts.configuration.topology.shards
        if shard.address is None and shard.name not in {*elsewhere, *parts.endpoints.shard_urls}
    ]
    url = parts.endpoints.database_url
    try:
        with answering(), connect(url, limits=LONG, autocommit=True) as connection:
            rows = connection.execute("SELECT datname FROM pg_database WHERE datname = ANY(%s)", (wanted_names,))
            there = {str(name) for (name,) in rows.fetchall()}
            for name in wanted_names:
                if name not in there:
                    made = sql.Identifier(name)
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(made))
                    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(made))
    except Unavailable as error:
        if not isinstance(error.__cause__, errors.InsufficientPrivilege):
            raise
        raise UsageError(
            f"this database user may not create the shards' databases ({', '.join(wanted_names)}): create them, give it"
            " CREATEDB, or name your own [[shards]] in tenantry.toml"
        ) from error


def _kafka_client(settings: Settings) -> tuple[Callable[..., Consumer], Callable[..., Producer]]:
    """The chosen client's classes. Raises UsageError where it, or a codec, is not installed."""
    require_codecs()
    if settings.kafka_client == "kafka-python":
        return KafkaPythonConsumer, KafkaPythonProducer
    try:
        from adapters.kafka import confluent as kafka_confluent  # noqa: PLC0415 - an extra, and 12 MB of library where nobody wants it
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise UsageError(
            "setting kafka_client is confluent-kafka, which is not installed: pip install 'tenantry[fast]', or leave"
            " the setting at kafka-python"
        ) from None
    return kafka_confluent.ConfluentConsumer, kafka_confluent.ConfluentProducer
