"""The named outages: what goes away, and how.

A `Cell` takes something from an installation for as long as a block lasts. `status` is what `tenantry status` must say
meanwhile, as a regular expression. `back` names the workers that must be at work again soon after the end; `meanwhile`
those that must stay at work all the time. `flaps` is true where the state changes many times, and not once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from adapters.postgres.high_water import AGENT_LOCK, APPEND_LOCK
from tests.outages.installation import KINDS, Installation
from tests.outages.servers import DatabaseServer
from tests.outages.wire import Mode, Wire

DURATIONS: Final = (0.5, 5.0, 15.0, 40.0)

Begins = Callable[[Installation], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One outage, of any duration. `needs_disk`: only where the server has a disk of its own.

    `known_after`: seconds until somebody can know of it: who hangs is found out by a time-out.
    """

    name: str
    begins: Begins
    status: str
    back: tuple[str, ...] = KINDS
    meanwhile: tuple[str, ...] = ()
    flaps: bool = False
    needs_disk: bool = False
    known_after: float = 2.0

    @property
    def durations(self) -> tuple[float, ...]:
        """In seconds. What flaps shows no more in 40 seconds than in 15."""
        return DURATIONS[:-1] if self.flaps else DURATIONS


# -- ways to go away ---------------------------------------------------------------------------------------------------


def _wire(of: Callable[[Installation], Wire], mode: Mode) -> Begins:
    @contextmanager
    def begins(installation: Installation) -> Iterator[None]:
        of(installation).set(mode)
        try:
            yield
        finally:
            of(installation).set("passes")

    return begins


def _server(
    of: Callable[[Installation], DatabaseServer], happens: Callable[[DatabaseServer], AbstractContextManager[None]]
) -> Begins:
    return lambda installation: happens(of(installation))


def _read_only(server: DatabaseServer) -> AbstractContextManager[None]:
    return server.with_setting("default_transaction_read_only", "on")


def _idle_sessions_cut(server: DatabaseServer) -> AbstractContextManager[None]:
    return server.with_setting("idle_session_timeout", "'150ms'")


@contextmanager
def _answers_503(installation: Installation) -> Iterator[None]:
    installation.theirs.down = True
    try:
        yield
    finally:
        installation.theirs.down = False


def _worker_asleep(kind: str) -> Begins:
    @contextmanager
    def begins(installation: Installation) -> Iterator[None]:
        with _stopped(installation.worker(kind)):
            yield

    return begins


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


# -- the agent ---------------------------------------------------------------------------------------------------------


@contextmanager
def _agent_asleep_with_its_lock(installation: Installation) -> Iterator[None]:
    """The elected agent has asked for its lock, is put to sleep, and is given the lock then: it does not commit.

    An append of the test's own makes it wait for the lock meanwhile.
    """
    with psycopg.connect(installation.database.direct("control"), autocommit=True) as ours:
        backend, port = _agent(ours)
        pid = _owner_of(installation, port)
        with ours.transaction():
            ours.execute("SELECT pg_advisory_xact_lock_shared(%s)", [APPEND_LOCK])
            _until_it_waits(ours, backend)
            os.kill(pid, signal.SIGSTOP)
        ((installation.asleep,),) = ours.execute("SELECT kind FROM workers WHERE pid = %s", [pid]).fetchall()
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
            installation.asleep = ""


def _agent(ours: psycopg.Connection) -> tuple[int, int]:
    """The elected agent's session on the server, and the port from which it comes."""
    query = (
        "SELECT pid, client_port FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND ((classid::bigint << 32) | objid::bigint) = %s"
    )
    deadline = time.monotonic() + 10
    while not (found := ours.execute(query, [AGENT_LOCK]).fetchone()):
        assert time.monotonic() < deadline, "nobody is the high-water agent"
        time.sleep(0.05)
    return found


def _until_it_waits(ours: psycopg.Connection, backend: int) -> None:
    deadline = time.monotonic() + 10
    while not ours.execute("SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", [backend]).fetchone():
        assert time.monotonic() < deadline, "the high-water agent does not ask for its lock"


def _owner_of(installation: Installation, server_side: int) -> int:
    """The worker behind a connection to the database."""
    port = installation.database.wire.client_port(server_side)
    assert port is not None, "nobody on the wire has that connection"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port:
            for pid in installation.up.processes():
                with suppress(OSError):
                    for link in Path(f"/proc/{pid}/fd").iterdir():
                        if link.readlink().name == f"socket:[{fields[9]}]":
                            return pid
    raise AssertionError("no worker has that connection")


# -- all of them -------------------------------------------------------------------------------------------------------


def _database(installation: Installation) -> DatabaseServer:
    return installation.database


def _shard(installation: Installation) -> DatabaseServer:
    return installation.shard


NO_DATABASE: Final = "database"
NO_BROKER: Final = "(?i)kafka|broker"
NO_SHARD: Final = "eu-1|us-1"
NO_WEBHOOK: Final = "provisioner:compass/7"
SHARD_BACK: Final = (*KINDS, "shard")
WEBHOOK_BACK: Final = (*KINDS, "webhook")

CELLS: Final = (
    Cell("database refuses", _wire(lambda at: at.database.wire, "refuses"), NO_DATABASE),
    Cell("database hangs", _server(_database, DatabaseServer.asleep), NO_DATABASE, known_after=16.0),
    Cell("database resets", _wire(lambda at: at.database.wire, "resets"), "", flaps=True),
    Cell("database slow", _wire(lambda at: at.database.wire, "slow"), "", flaps=True),
    Cell("database read-only", _server(_database, _read_only), "read-only"),
    Cell("database full of connections", _server(_database, DatabaseServer.without_connections), NO_DATABASE),
    Cell("database cuts idle sessions", _server(_database, _idle_sessions_cut), "", flaps=True),
    Cell("database disk full", _server(_database, DatabaseServer.with_full_disk), "(?i)disk|space", needs_disk=True),
    Cell("broker refuses", _wire(lambda at: at.broker.wire, "refuses"), NO_BROKER),
    Cell("broker hangs", lambda at: at.broker.asleep(), NO_BROKER, known_after=16.0),
    Cell("broker resets", _wire(lambda at: at.broker.wire, "resets"), "", flaps=True),
    Cell("broker slow", _wire(lambda at: at.broker.wire, "slow"), "", flaps=True),
    Cell("shard refuses", _wire(lambda at: at.shard.wire, "refuses"), NO_SHARD, SHARD_BACK),
    Cell("shard hangs", _server(_shard, DatabaseServer.asleep), NO_SHARD, SHARD_BACK, known_after=8.0),
    Cell("shard resets", _wire(lambda at: at.shard.wire, "resets"), "", SHARD_BACK, flaps=True),
    Cell("shard slow", _wire(lambda at: at.shard.wire, "slow"), "", SHARD_BACK, flaps=True),
    Cell("shard read-only", _server(_shard, _read_only), NO_SHARD, SHARD_BACK),
    Cell("shard full of connections", _server(_shard, DatabaseServer.without_connections), NO_SHARD, SHARD_BACK),
    Cell("shard cuts idle sessions", _server(_shard, _idle_sessions_cut), "", SHARD_BACK, flaps=True),
    Cell("shard disk full", _server(_shard, DatabaseServer.with_full_disk), NO_SHARD, SHARD_BACK, needs_disk=True),
    Cell("webhook refuses", _wire(lambda at: at.webhook, "refuses"), NO_WEBHOOK, WEBHOOK_BACK),
    Cell("webhook hangs", _wire(lambda at: at.webhook, "hangs"), NO_WEBHOOK, WEBHOOK_BACK, known_after=16.0),
    Cell("webhook resets", _wire(lambda at: at.webhook, "resets"), "", WEBHOOK_BACK, flaps=True),
    Cell("webhook answers 503", _answers_503, NO_WEBHOOK, WEBHOOK_BACK),
    Cell("intake asleep", _worker_asleep("intake"), "", meanwhile=("projector", "relay")),
    Cell("projector asleep", _worker_asleep("projector"), "", meanwhile=("intake", "provisioner")),
    Cell("provisioner asleep", _worker_asleep("provisioner"), "", meanwhile=("intake", "projector")),
    Cell("relay asleep", _worker_asleep("relay"), "", meanwhile=("intake", "projector", "provisioner")),
    Cell("agent asleep with its lock", _agent_asleep_with_its_lock, "", meanwhile=("intake", "projector")),
)
BY_NAME: Final = {cell.name: cell for cell in CELLS}
