"""Which kinds of worker are there, and how is each started?

Each kind is one process that may run alone or many times. It beats its heart, drains on SIGTERM or Ctrl-C, and ends
when the process that started it is gone.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import structlog

from adapters.workers import Heartbeat
from domain.errors import TenantryError
from history.loading import spare_the_collector
from projections import INTEGRATION, PROJECTIONS
from runtime.bootstrap import Parts, lease_of, utc_now, worker_name
from runtime.settings import Settings
from workers.intake import Intake
from workers.lanes import Limits
from workers.projector import Projector
from workers.provisioner import Provisioner
from workers.relay import Relay
from workers.replies import ReplyBox
from workers.sealer import sealing
from workers.sweeper import sweeping

log = structlog.get_logger(__name__)


def run_intake(parts: Parts, stop: threading.Event) -> None:
    intake = Intake(
        parts.consumer,
        parts.lifecycle,
        read=parts.read,
        positions=parts.log,
        batch=parts.settings.intake_batch,
        poll_seconds=parts.settings.poll_seconds,
    )
    details = lambda: {"lag": sum(intake.lag().values()), "counts": dict(intake.counts)}  # noqa: E731
    with _beating(parts, "intake", details) as heart:
        intake.run(stop, ready=heart.ready)


def run_projector(parts: Parts, stop: threading.Event) -> None:
    name = worker_name("projector")
    projector = Projector(
        parts.log_reader,
        parts.projector_engine,
        (*PROJECTIONS, INTEGRATION),
        batch=parts.settings.projector_batch,
        poll_seconds=parts.settings.poll_seconds,
        listener=parts.mark_listener,
        name=name,
        peers=lambda: parts.peers("projector"),
    )
    with _beating(parts, "projector", dict, name=name) as heart:
        projector.run(stop, ready=heart.ready)


def limits_of(settings: Settings) -> Limits:
    return Limits(
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
        parts.executors,
        learn=parts.executors_of,
        configured=parts.adopted.version,
        clock=utc_now,
        owner=worker_name("provisioner"),
        limits=limits_of(settings),
        lease=lease_of(settings),
        poll_seconds=settings.poll_seconds,
        drain_seconds=settings.drain_seconds,
        step_timeout=parts.policy.retry.step_timeout,
    )
    sweeper = parts.sweeping if settings.sweep_interval_seconds else None
    with sweeping(sweeper), _beating(parts, "provisioner", dict) as heart, _replies(parts, stop):
        provisioner.run(stop, ready=heart.ready)


@contextmanager
def _replies(parts: Parts, stop: threading.Event) -> Iterator[None]:
    """Beside a provisioner: what provisioners of others reply wakes whoever waits for it."""
    thread = threading.Thread(target=_take_replies, args=(parts, stop), name="replies", daemon=True)
    thread.start()
    yield
    thread.join(timeout=5)


def _take_replies(parts: Parts, stop: threading.Event) -> None:
    """Until `stop`; whatever goes wrong, orders are asked for again, so it is begun again. It begins when a catalogue
    names others."""
    while not stop.is_set() and not parts.catalog.is_foreign:
        stop.wait(1.0)
    while not stop.is_set():
        try:
            box = ReplyBox(parts.log)
            Intake(
                parts.reply_consumer,
                box,
                read=parts.reply,
                positions=parts.log,
                batch=parts.settings.intake_batch,
                poll_seconds=parts.settings.poll_seconds,
            ).run(stop)
        except TenantryError as error:
            log.warning("taking replies again", error=str(error))
            stop.wait(5.0)


def run_relay(parts: Parts, stop: threading.Event) -> None:
    relay = Relay(
        parts.outbox,
        parts.producer(),
        topic=parts.settings.provisioning_topic,
        topic_id=parts.provisioning_topic_id,
        headers=(("content-type", b"application/cloudevents+json"),),
        batch=500,
        poll_seconds=parts.settings.poll_seconds,
    )
    with sealing(parts.seal.seal, parts.settings.seal_seconds), _beating(parts, "relay", dict) as heart:
        relay.run(stop, ready=heart.ready)


KINDS: dict[str, Callable[[Parts, threading.Event], None]] = {
    "intake": run_intake,
    "projector": run_projector,
    "provisioner": run_provisioner,
    "relay": run_relay,
}


def run(kind: str, parts: Parts) -> None:
    """Run one worker in this process until it is told to stop."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        threading.Thread(target=_outlive, args=(supervisor, stop), name="watch-supervisor", daemon=True).start()
    spare_the_collector()
    parts.knock()
    for line in parts.configuration_in_use():
        log.info(line)
    KINDS[kind](parts, stop)


def _outlive(supervisor: BaseProcess, stop: threading.Event) -> None:
    """A worker whose supervisor was killed drains and ends: another supervisor will start its own."""
    supervisor.join()
    stop.set()


@contextmanager
def _beating(
    parts: Parts, kind: str, details: Callable[[], dict[str, Any]], *, name: str | None = None
) -> Iterator[Heartbeat]:
    """A heart that beats while the block runs, beside a candidate for the high-water agent."""
    heart, agent = parts.heartbeat(kind, details, name=name), parts.high_water_agent()
    heart.start()
    agent.start()
    try:
        yield heart
    finally:
        agent.stop()
        heart.stop()
