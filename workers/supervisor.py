"""Supervisor: all parts and workers of an installation on one machine.

`Supervisor` starts the embedded parts that no setting replaces, brings them into the state that this version needs,
starts one process a worker and keeps each alive, and ends all of it in order. It is killed at any time without harm:
workers watch for it and drain, the broker dies with it, PostgreSQL is found again by the next one.

    start: PostgreSQL ─▶ broker ─▶ migrate, shards, topics ─▶ workers ─▶ ready (every worker is ready)
    stop:  workers (SIGTERM; SIGKILL after the drain, or when asked again) ─▶ broker ─▶ PostgreSQL
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from adapters.embedded.broker import EmbeddedBroker
from adapters.embedded.embedded_part import refuse_unspeakable
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.live_workers import alive
from domain.errors import Unavailable, UsageError, problem
from runtime.compose import Parts
from runtime.compose.prepare import prepare
from runtime.instance import Endpoints, hold, leave_card, take_card_away
from runtime.master_key import ensure_master_key
from runtime.seal_keys import ensure_seal_key
from runtime.settings import Settings
from workers import fork_server
from workers.roles import KINDS

log = structlog.get_logger(__name__)

READY_SECONDS = 60.0
LOOK_SECONDS = 2.0
CONTROL_DATABASE = "tenantry"


@dataclass(slots=True)
class _Worker:
    kind: str
    number: int
    process: ForkServerProcess
    started_at: float


class Supervisor:
    """All of Tenantry, in the foreground. Use as a context manager; leaving it stops everything.

    Workers are let drain, unless `at_once` is set: then they are killed, which loses nothing.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        kinds: Sequence[str] = tuple(KINDS),
        say: Callable[[str], None] = lambda _: None,
        at_once: threading.Event | None = None,
    ) -> None:
        port = settings.context_port or _free_port()
        self.settings = settings.model_copy(update={"context_port": port})
        self.context_url = f"http://127.0.0.1:{port}" if "context-service" in kinds else None
        self._kinds = kinds
        self._say = say
        self._at_once = at_once or threading.Event()
        self._closing = ExitStack()
        self._embedded: dict[str, EmbeddedPostgres | EmbeddedBroker] = {}
        self._workers: list[_Worker] = []
        self._stopping = threading.Event()
        self._looked_at = 0.0
        self._still: dict[str, str] = {}
        self.endpoints: Endpoints
        self.configuration: tuple[str, ...] = ()

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir.absolute()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- starting -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        try:
            self._start_all()
        except OSError as error:
            named = f" ({error.filename})" if error.filename else ""
            raise UsageError(
                problem("data-directory-unusable", data_dir=self.data_dir, reason=error.strerror or error, named=named)
            ) from error

    def _start_all(self) -> None:
        refuse_unspeakable(self.data_dir)
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock()
        fork_server.open_early()
        self.endpoints = self._parts()
        self._keys()
        with Parts(self.settings, self.endpoints) as parts:
            parts.knock()
            self._say("preparing databases, shards and topics")
            prepare(parts, adopts=bool(self._kinds))
            self.configuration = tuple(parts.configuration_in_use())
        if self._kinds:
            self._say("starting workers")
        self._closing.callback(self._end_workers)
        for kind in self._kinds:
            self._launch(kind, number=1)
        self._await_ready()
        self._closing.callback(take_card_away, self.data_dir)
        leave_card(self.data_dir, self.endpoints)

    def _lock(self) -> None:
        file = hold(self.data_dir)
        if file is None:
            raise UsageError(problem("tenantry-runs-already", data_dir=self.data_dir))
        self._closing.callback(file.close)

    def _parts(self) -> Endpoints:
        """The database and the broker: those of the settings, or the embedded ones."""
        settings = self.settings
        tcp: tuple[str, int] | None = None
        if settings.database_url is not None:
            url = settings.database_url.get_secret_value()
        else:
            self._say("starting PostgreSQL")
            postgres = EmbeddedPostgres(self.data_dir / "postgres")
            self._closing.callback(postgres.stop)
            postgres.start()
            self._embedded["postgres"] = postgres
            postgres.create_database(CONTROL_DATABASE)
            url, tcp = postgres.url(CONTROL_DATABASE), (postgres.host, postgres.port)
        if settings.kafka_bootstrap is not None:
            bootstrap = settings.kafka_bootstrap
        else:
            self._say("starting the broker")
            broker = EmbeddedBroker(self.data_dir / "broker")
            self._closing.callback(broker.stop)
            broker.start()
            self._embedded["broker"] = broker
            bootstrap = broker.bootstrap
        urls = {shard.name: shard.url.get_secret_value() for shard in settings.shards if shard.url is not None}
        host, port = tcp or (None, None)
        return Endpoints(url, bootstrap, host, port, urls)

    def _keys(self) -> None:
        """Each key is made once, with the first data; a lost one is never replaced in silence."""
        made = self.data_dir / "master-key.made"
        if self.settings.database_url is None and not made.exists():
            ensure_master_key(self.settings)
            made.touch(mode=0o600)
        sealed = self.data_dir / "seal-key.made"
        if self.settings.database_url is None and not sealed.exists():
            ensure_seal_key(self.settings)
            sealed.touch(mode=0o600)

    def _launch(self, kind: str, *, number: int) -> None:
        logs = self.data_dir / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        process = fork_server.begin(kind, self._settings_of(kind), self.endpoints, logs / f"{kind}-{number}.log")
        self._workers.append(_Worker(kind, number, process, time.monotonic()))

    def _settings_of(self, kind: str) -> Settings:
        """Those of one worker: each serves its metrics on a port of its own."""
        if (port := self.settings.metrics_port) is None:
            return self.settings
        return self.settings.model_copy(update={"metrics_port": port + tuple(KINDS).index(kind)})

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            ready = {row["pid"] for row in alive(self.endpoints.database_url) if row["state"] == "ready"}
            if all(worker.process.pid in ready for worker in self._workers):
                return
            for worker in self._workers:
                if worker.process.exitcode is not None:
                    raise Unavailable(problem("worker-ended", kind=worker.kind, worker=self._last_words(worker)))
            if time.monotonic() > deadline:
                late = sorted(worker.kind for worker in self._workers if worker.process.pid not in ready)
                raise Unavailable(
                    problem(
                        "workers-not-ready",
                        ready_seconds=f"{READY_SECONDS:g}",
                        late=", ".join(late),
                        data_dir=self.data_dir / "logs",
                    )
                )
            if self._stopping.wait(0.05):
                return

    def _last_words(self, worker: _Worker) -> str:
        path = self.data_dir / "logs" / f"{worker.kind}-{worker.number}.log"
        lines = path.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else f"no word of it in {path}"

    # -- running ------------------------------------------------------------------------------------------------------

    def watch(self, stop: threading.Event) -> None:
        """Keep the workers alive until `stop` is set; one that dies at once again and again is left for a while.

        Raises Unavailable where an embedded part dies: the next start finds all that was recorded, and a new broker has
        new topics, which no worker of this one knows.
        """
        while not stop.wait(0.2):
            self._tell_what_stands_still()
            for name, part in self._embedded.items():
                if not part.is_alive:
                    raise Unavailable(problem("embedded-part-died", name=name, data_dir=self.data_dir / name))
            for worker in list(self._workers):
                code = worker.process.exitcode
                if code is None or (time.monotonic() - worker.started_at < 2.0 and code != -signal.SIGKILL):
                    continue
                log.warning("worker ended, starting it again", worker=worker.kind, code=code)
                self._workers.remove(worker)
                self._launch(worker.kind, number=worker.number)

    def _tell_what_stands_still(self) -> None:
        """Each partition in which the intake cannot go on, once."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        try:
            workers = alive(self.endpoints.database_url)
        except Unavailable:
            return  # the workers that need it report what is wrong with it
        still = {name: why for each in workers for name, why in each["details"].get("set_aside", {}).items()}
        for name, why in still.items():
            if self._still.get(name) != why:
                log.error("a partition stands still", partition=name, why=why)
        self._still = still

    def stop(self) -> None:
        """End everything, in order. May be called twice."""
        self._stopping.set()
        self._closing.close()

    def _end_workers(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + self.settings.drain_seconds + 1.0
        for worker in self._workers:
            while worker.process.exitcode is None and time.monotonic() < deadline and not self._at_once.is_set():
                worker.process.join(0.1)
            if worker.process.exitcode is None:
                why = "had to end at once" if self._at_once.is_set() else "did not drain in time"
                log.warning("killing a worker", worker=worker.kind, why=why)
                worker.process.kill()
                worker.process.join(5)
        self._workers.clear()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
