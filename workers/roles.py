"""Worker roles: the kinds of worker, and how each is started.

Each kind is one process that may run alone or many times. It beats its heart, drains on SIGTERM or Ctrl-C, and ends
when the process that started it is gone.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from typing import Any

import structlog

from adapters.outage import Outage
from adapters.postgres.heartbeats import Heartbeat
from domain.errors import TenantryError
from history.rebuild.loading import spare_the_collector
from runtime import faults
from runtime.compose import Parts, lease_of, utc_now, worker_name
from runtime.compose.audit import seal_of
from runtime.compose.contexts import check_lease, context_rules_of, context_store_of, in_force_recorder_of
from runtime.compose.heartbeats import heartbeat_of, high_water_agent_of
from runtime.compose.intake import intake_consumer_of, lifecycle_of, messages_of
from runtime.compose.kafka import producer_of
from runtime.compose.projector import log_reader_of, mark_listener_of, peers_of, projections_of, projector_engine_of
from runtime.compose.provisioner import ReplyConsumer, executors_of, executors_of_configuration
from runtime.compose.relay import outbox_of, provisioning_topic_id_of
from runtime.compose.resources import sweeping_of
from runtime.compose.tracing import traced
from runtime.settings import Settings
from workers.bulkheads import ConcurrencyLimits
from workers.context_projector import ContextProjector
from workers.in_force import recording_in_force
from workers.intake import Intake
from workers.loops import beside, listen
from workers.probes import probed
from workers.projector import Projector
from workers.provisioner import Provisioner
from workers.relay import Relay
from workers.replies import ReplyBox
from workers.sealer import sealing
from workers.start import await_prepared
from workers.sweeper import sweeping
from workers.watchdog import watched

log = structlog.get_logger(__name__)

REPLIES_PAUSE_SECONDS = 5.0
"""Before the thread of replies is begun again after an error."""


def run_intake(parts: Parts, stop: threading.Event) -> None:
    intake = Intake(
        partial(intake_consumer_of, parts),
        lifecycle_of(parts),
        read=messages_of(parts).read,
        refused=messages_of(parts).refused,
        positions=parts.log,
        batch=parts.settings.intake_batch,
        poll_seconds=parts.settings.poll_seconds,
    )

    def details() -> dict[str, Any]:
        halted = {"halted": intake.halted} if intake.halted else {}
        return {"counts": dict(intake.counts), **intake.reading, **halted}

    with _beating(parts, "intake", details, outages=[intake.outage]) as heart:
        intake.run(stop, ready=heart.ready)


def run_projector(parts: Parts, stop: threading.Event) -> None:
    name = worker_name("projector")
    projector = Projector(
        log_reader_of(parts),
        projector_engine_of(parts),
        projections_of(parts),
        batch=parts.settings.projector_batch,
        poll_seconds=parts.settings.poll_seconds,
        listener=mark_listener_of(parts),
        name=name,
        peers=lambda: peers_of(parts, "projector"),
    )
    with _beating(parts, "projector", dict, name=name, outages=[projector.outage, projector.upgrade]) as heart:
        projector.run(stop, ready=heart.ready)


def run_contexts(parts: Parts, stop: threading.Event) -> None:
    check_lease(parts.settings)
    projector = ContextProjector(
        log_reader_of(parts),
        context_store_of(parts),
        configuration=parts.configuration,
        rules_of=partial(context_rules_of, parts),
        batch=parts.settings.projector_batch,
        poll_seconds=parts.settings.poll_seconds,
        listener=mark_listener_of(parts),
    )
    in_force = Outage("the recorder of what is in force")
    details = lambda: {"position": projector.position}  # noqa: E731
    with (
        recording_in_force(in_force_recorder_of(parts), is_elected=lambda: projector.is_elected, outage=in_force),
        _beating(parts, "contexts", details, outages=[projector.outage, in_force]) as heart,
    ):
        projector.run(stop, ready=heart.ready)


def run_context_service(parts: Parts, stop: threading.Event) -> None:
    from context.service.run import ServiceAddress, serve  # noqa: PLC0415 - uvicorn, which is an extra

    check_lease(parts.settings)
    with _beating(parts, "context-service", dict, outages=[]) as heart:
        serve(
            parts.endpoints.database_url,
            ServiceAddress(port=parts.settings.context_port),
            lease_seconds=parts.settings.context_lease_seconds,
            stop=stop,
            ready=lambda _: heart.ready(),
        )


def limits_of(settings: Settings) -> ConcurrencyLimits:
    return ConcurrencyLimits(
        threads=settings.provisioner_threads,
        claim=settings.provisioner_claim,
        executor=settings.provisioner_executor_limit,
        shard=settings.provisioner_shard_limit,
        foreign=settings.provisioner_foreign_limit,
        tenant=settings.provisioner_tenant_share,
    )


def run_provisioner(parts: Parts, stop: threading.Event) -> None:
    settings = parts.settings
    provisioner = Provisioner(
        parts.log,
        parts.saga,
        executors_of(parts),
        learn=partial(executors_of_configuration, parts),
        configured=parts.adopted.version,
        clock=utc_now,
        owner=worker_name("provisioner"),
        limits=limits_of(settings),
        lease=lease_of(settings),
        poll_seconds=settings.poll_seconds,
        drain_seconds=settings.drain_seconds,
        step_timeout=parts.policy.retry.step_timeout,
    )
    sweeper = partial(sweeping_of, parts) if settings.sweep_interval_seconds else None
    sweep, replies = Outage("the background sweep"), Outage("the intake of replies")
    outages = [provisioner.outage, provisioner.upgrade, provisioner.hanging, sweep, replies]
    counts = dict[str, int]()
    details = lambda: {"replies": dict(counts)} if counts else {}  # noqa: E731
    with (
        sweeping(sweeper, outage=sweep),
        _beating(parts, "provisioner", details, outages=outages) as heart,
        beside(partial(_take_replies, ReplyConsumer(parts), counts, replies), "replies", stop),
        beside(partial(listen, mark_listener_of(parts), provisioner.look_again), "news", stop),
    ):
        provisioner.run(stop, ready=heart.ready)


def _take_replies(parts: ReplyConsumer, counts: dict[str, int], outage: Outage, stop: threading.Event) -> None:
    """Beside a provisioner: replies of other teams' provisioners make the scopes due that wait for them.

    An error is logged and the intake begins again: no other thread would take the replies. It begins when a catalogue
    names a provisioner of another team.
    """
    while not stop.is_set() and not parts.catalog.is_foreign:
        stop.wait(1.0)
    while not stop.is_set():
        try:
            Intake(
                parts.reply_consumer,
                ReplyBox(parts.log),
                read=parts.reply,
                refused=parts.pass_reply,
                positions=parts.log,
                batch=parts.settings.intake_batch,
                poll_seconds=parts.settings.poll_seconds,
                counts=counts,
                outage=outage,
            ).run(stop)
        except TenantryError as error:
            outage.goes_on(error)
            stop.wait(REPLIES_PAUSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - a thread that dies in silence leaves its scopes waiting for ever
            faults.tell(error)
            stop.wait(REPLIES_PAUSE_SECONDS)


def run_relay(parts: Parts, stop: threading.Event) -> None:
    relay = Relay(
        outbox_of(parts),
        producer_of(parts),
        topic=parts.settings.provisioning_topic,
        topic_id=partial(provisioning_topic_id_of, parts),
        headers=(("content-type", b"application/cloudevents+json"),),
        batch=500,
        poll_seconds=parts.settings.poll_seconds,
    )
    seal = Outage("the seal")
    with (
        sealing(seal_of(parts).seal, parts.settings.seal_seconds, outage=seal),
        _beating(parts, "relay", dict, outages=[relay.outage, seal]) as heart,
    ):
        relay.run(stop, ready=heart.ready)


KINDS: dict[str, Callable[[Parts, threading.Event], None]] = {
    "intake": run_intake,
    "projector": run_projector,
    "contexts": run_contexts,
    "provisioner": run_provisioner,
    "relay": run_relay,
    **({"context-service": run_context_service} if find_spec("uvicorn") else {}),
}
"""The context service needs the extra `context`: without it `up` does without."""


def run(kind: str, parts: Parts) -> None:
    """Run one worker in this process until a signal stops it."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        threading.Thread(target=_outlive, args=(supervisor, stop), name="watch-supervisor", daemon=True).start()
    spare_the_collector()
    if supervisor is None:
        parts.knock()
    _await_prepared(kind, parts, stop)
    if not stop.is_set():
        for line in parts.configuration_in_use():
            log.info(line)
        KINDS[kind](parts, stop)


def _await_prepared(kind: str, parts: Parts, stop: threading.Event) -> None:
    """A worker that starts during an outage waits for its end, and one that is newer than the tables for the migration.

    So does one that cannot read the configuration, because a later version has adopted it.
    """

    def expect() -> None:
        parts.expect_schema()
        _ = parts.configuration

    await_prepared(parts, kind, expect, stop, kinds=KINDS)


def _outlive(supervisor: BaseProcess, stop: threading.Event) -> None:
    """A worker whose supervisor was killed drains and ends: another supervisor will start its own."""
    supervisor.join()
    stop.set()


@contextmanager
def _beating(
    parts: Parts,
    kind: str,
    details: Callable[[], dict[str, Any]],
    *,
    outages: Sequence[Outage],
    name: str | None = None,
) -> Iterator[Heartbeat]:
    """A heart that beats while the block runs, beside a candidate for the high-water agent."""
    agent = high_water_agent_of(parts)
    heart = heartbeat_of(parts, kind, details, name=name, outages=[*outages, agent.outage])
    heart.start()
    agent.start()
    try:
        with (
            traced(parts.settings, kind),
            probed(parts, kind, heart, outages, kinds=KINDS),
            watched(heart, next(iter(outages), None)),
        ):
            yield heart
    finally:
        agent.stop()
        heart.stop()
