"""How does a provisioner live that a test may strike down?

A process of its own, forked from a server that has all imports done. Its parts are the real ones, but for a clock that
the test sets, and the watch on its ports (points.py). It works until nothing is due.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import structlog

from application.ports.resources import Order
from application.reconcile import Saga
from runtime.compose import Parts, new_id
from runtime.compose.provisioner import executors_of
from runtime.instance import Endpoints
from runtime.settings import Settings
from tests.crashes import planted
from tests.crashes.failing import Fails, failing
from tests.crashes.points import Place, WatchedLog, watch_statements, watched
from tests.domain.given import POLICY
from workers.bulkheads import ConcurrencyLimits
from workers.provisioner import Provisioner

LEASE = timedelta(seconds=20)

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["__main__", "pytest", __name__])


@dataclass(frozen=True, slots=True)
class Strike:
    """At the first time that the worker is at `place` with `tenant`, by any of its names, the signal hits it."""

    tenant: str
    place: Place
    signal: int


@dataclass(frozen=True, slots=True)
class Life:
    """What one worker is started with. Its clock begins at `now`; what it passes is told to the file `diary`.

    `fails`: the steps whose effects come about and are told as failed, for good or for now.
    """

    settings: Settings
    endpoints: Endpoints
    now: datetime
    strike: Strike | None = None
    diary: Path | None = None
    fault: str = ""
    fails: Fails = field(default_factory=dict)
    claim: int = 1
    threads: int = 1


def open_early() -> None:
    """Let the fork server import while something else is waited for."""
    forkserver.ensure_running()


def begin(life: Life) -> ForkServerProcess:
    process = _forks.Process(target=_live, args=(life,))
    process.start()
    return process


def _live(life: Life) -> None:
    gc.disable()  # a life is short
    structlog.configure(processors=[_is_dropped])
    watch_statements()
    with planted.FAULTS[life.fault]() as fault, Parts(life.settings, life.endpoints) as parts:
        watch, ended = _watch(life), _diarist(life)
        log = fault.log(WatchedLog(parts.log, watch))
        clock = _clock(life.now)
        saga = Saga(log, catalog=parts.catalog, policy=POLICY, clock=clock, new_id=new_id, dice=lambda: 0.0)
        executors = failing(fault.executors(executors_of(parts)), life.fails)
        provisioner = Provisioner(
            log,
            saga,
            watched(executors, watch, ended),
            clock=clock,
            owner=f"worker {os.getpid()}",
            limits=ConcurrencyLimits(threads=life.threads, claim=life.claim),
            lease=LEASE,
            poll_seconds=0.05,
            drain_seconds=5,
        )
        while provisioner.round():
            pass
        provisioner.drain()


def _is_dropped(logger: Any, method: str, entry: Any) -> Any:
    raise structlog.DropEvent


def _clock(now: datetime) -> Callable[[], datetime]:
    started = time.monotonic()
    return lambda: now + timedelta(seconds=time.monotonic() - started)


def _watch(life: Life) -> Callable[[str, Place], None]:
    pending = [life.strike] if life.strike else []

    def watch(tenant: str, place: Place) -> None:
        if life.diary is not None:
            _note(life.diary, {"tenant": tenant, "place": sorted([p.kind, p.act, p.moment] for p in place)})
        for strike in pending:
            if strike.tenant == tenant and strike.place & place:
                pending.clear()
                # To this thread: if another one is stopped first, this one may be past the point by then.
                signal.pthread_kill(threading.get_ident(), strike.signal)

    return watch


def _diarist(life: Life) -> Callable[[Order, Exception | None], None]:
    def ended(order: Order, error: Exception | None) -> None:
        if life.diary is not None:
            said = f"{type(error).__name__}: {error}" if error else ""
            _note(life.diary, {"tenant": order.scope.tenant_id, "effect": order.idempotency_key, "error": said})

    return ended


def _note(diary: Path, entry: dict[str, Any]) -> None:
    with diary.open("a") as file:
        file.write(json.dumps(entry) + "\n")
