"""A standby and its promotion, on a real streaming replica: no lease, and afterwards every cache begins anew."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.migrations import migrate
from context.service.run import ServiceAddress, serve
from tenantry_client.context.lease import LogId
from tenantry_client.context.tenancy import Tenancy
from tests.context.engine import LEASE_SECONDS, Engine, Service
from tests.context.processes import SidecarProcess, wait_until

pytestmark = pytest.mark.endurance

DATABASE = "tenancy"


@pytest.fixture
def primary() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="ha-") as folder, EmbeddedPostgres(Path(folder) / "a") as server:
        server.create_database(DATABASE)
        access = Path(folder) / "a" / "cluster" / "pg_hba.conf"
        access.write_text(access.read_text() + "local replication postgres trust\n")
        with psycopg.connect(server.url()) as connection:
            connection.execute("SELECT pg_reload_conf()")
        migrate(server.url(DATABASE))
        yield server


@contextmanager
def standby(primary: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A hot standby of the primary, that streams from it."""
    directory = primary.log_file.parent.parent / "b"
    replica = EmbeddedPostgres(directory)
    replica._prepare_directory()  # noqa: SLF001 - a cluster of ours that initdb did not make
    url = ("-d", primary.url())
    assert replica._run("pg_basebackup", *url, "-D", "cluster", "-R", "-X", "stream", "-c", "fast"), "see postgres.log"  # noqa: SLF001
    with replica:
        yield replica


@contextmanager
def served(url: str) -> Iterator[Service]:
    """A service, ready or not."""
    stop, told, ports = threading.Event(), threading.Event(), list[int]()

    def ready(port: int) -> None:
        ports.append(port)
        told.set()

    thread = threading.Thread(
        target=serve, args=(url, ServiceAddress()), daemon=True,
        kwargs={"lease_seconds": LEASE_SECONDS, "stop": stop, "ready": ready},
    )  # fmt: skip
    thread.start()
    assert told.wait(20), "the service did not begin"
    try:
        yield Service(f"http://127.0.0.1:{ports[0]}")
    finally:
        stop.set()
        thread.join(10)


def replayed(replica: EmbeddedPostgres, position: int) -> bool:
    with psycopg.connect(replica.url(DATABASE)) as connection:
        row = connection.execute("SELECT position FROM context_log").fetchone()
    return row is not None and int(row[0]) >= position


def test_a_standby_gives_no_lease_and_a_promotion_is_another_epoch_for_every_cache(
    primary: EmbeddedPostgres, tmp_path: Path
) -> None:
    engine = Engine(primary.url(DATABASE))
    with engine.marked(), engine.projected():
        engine.open("t-1")
        position = engine.wait_for_position()
        with standby(primary) as replica, served(primary.url(DATABASE)) as ours:
            ours.wait_until_fresh()
            wait_until(lambda: replayed(replica, position), what="the replica")
            with served(replica.url(DATABASE)) as theirs:
                _go_over(engine, primary, replica, (ours, theirs), tmp_path)


def _go_over(
    engine: Engine,
    primary: EmbeddedPostgres,
    replica: EmbeddedPostgres,
    services: tuple[Service, Service],
    tmp_path: Path,
) -> None:
    ours, theirs = services
    sidecar = SidecarProcess(tmp_path / "s", [theirs.url, ours.url], term=LEASE_SECONDS)
    sidecar.start()
    try:
        with Tenancy.open(sidecar.directory) as tenancy:
            wait_until(lambda: tenancy.is_ready, seconds=30, what="a lease")
            before = tenancy.log
            assert before is not None
            assert tenancy.by_id("t-1").access == "open"
            time.sleep(1.5)
            status, refused, _ = theirs.get("/v1/lease")
            assert (status, refused["code"]) == (503, "not-primary")
            assert theirs.get("/v1/tenants/t-1")[0] == 503
            assert theirs.get("/readyz")[0] == 503

            lost = len(list(sidecar.directory.glob("store.*")))
            engine.close()
            _kill(primary)
            with psycopg.connect(replica.url(), autocommit=True) as connection:
                connection.execute("SELECT pg_promote()")
            theirs.wait_until_fresh(30)
            assert theirs.get("/v1/lease")[1]["epoch"] > before.epoch
            wait_until(
                lambda: tenancy.is_ready and is_later(tenancy.log, before), seconds=30, what="a lease of the new epoch"
            )
            assert tenancy.by_id("t-1").access == "open"
            assert len(list(sidecar.directory.glob("store.*"))) == lost == 1
            assert "snapshot" in sidecar.said
    finally:
        sidecar.remove()


def is_later(log: LogId | None, before: LogId) -> bool:
    return log is not None and log.log == before.log and log.epoch > before.epoch


def _kill(server: EmbeddedPostgres) -> None:
    pid = int((server.log_file.parent / "cluster" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    wait_until(lambda: not server.is_alive, what="the end of the primary")
