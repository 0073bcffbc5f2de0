"""Do the bundled PostgreSQL and broker start, recover, keep strangers out, and leave nothing behind?"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from adapters.embedded.broker import EmbeddedBroker
from adapters.embedded.embedded_part import EmbeddedPartFailed
from adapters.embedded.postgres import EmbeddedPostgres, binaries


@pytest.fixture(scope="module")
def _module_server() -> Iterator[EmbeddedPostgres]:
    """A server that tests may kill, under a path that is too long for a socket and closed to other users."""
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-tests-") as directory,
        EmbeddedPostgres(Path(directory) / ("long" * 20) / "postgres") as server,
    ):
        yield server


@pytest.fixture
def server(_module_server: EmbeddedPostgres) -> EmbeddedPostgres:
    _module_server.start()
    return _module_server


def test_the_owner_connects_over_its_socket_with_psycopg_and_with_psql(database: str) -> None:
    with psycopg.connect(database) as connection:
        answer = connection.execute("SELECT current_user, inet_server_addr(), current_setting('TimeZone')").fetchone()
    assert answer == ("postgres", None, "UTC")

    said = subprocess.run([binaries() / "psql", database, "-Atc", "SELECT 40 + 2"], capture_output=True, check=True)
    assert said.stdout == b"42\n"


def test_durability_is_not_traded_for_speed(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url()) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",), setting


@pytest.mark.parametrize(("free_gb", "wal_mb"), [(1, 512), (20, 2048), (1000, 8192)])
def test_the_wal_may_take_a_tenth_of_the_free_disk(free_gb: int, wal_mb: int, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=free_gb * 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    query = "SELECT setting::int FROM pg_settings WHERE name = 'max_wal_size'"
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedPostgres(Path(directory)) as server,
        psycopg.connect(server.url()) as connection,
    ):
        assert connection.execute(query).fetchone() == (wal_mb,)


def test_data_survives_the_death_of_the_postmaster(server: EmbeddedPostgres) -> None:
    port = server.port
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    # This backend notices nothing while it sleeps, and holds the shared memory of the dead postmaster.
    with closing(psycopg.connect(server.url())) as lingering:
        lingering.pgconn.send_query(b"SELECT pg_sleep(60)")
        os.kill(postmaster_of(server), signal.SIGKILL)
        server.start()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
        connection.execute("DROP TABLE kept")
    assert server.port == port


def test_a_server_whose_program_was_killed_is_taken_over(server: EmbeddedPostgres) -> None:
    running = postmaster_of(server)
    successor = EmbeddedPostgres(server._directory)  # noqa: SLF001
    successor.start()
    assert postmaster_of(successor) == running
    assert successor.url() == server.url()


def test_a_pid_that_now_belongs_to_another_process_is_not_believed(server: EmbeddedPostgres) -> None:
    server.stop()
    pid_file = server._cluster / "postmaster.pid"  # noqa: SLF001
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        pid_file.write_text(f"{stranger.pid}\n/\n1\n5432\n/\nlocalhost\n\nready\n")
        server.start()
        assert stranger.poll() is None
        stranger.kill()
    psycopg.connect(server.url()).close()


def test_a_pid_that_is_now_the_number_of_a_thread_is_not_believed(server: EmbeddedPostgres) -> None:
    """In a container numbers are small and come again; PostgreSQL takes a thread's for a process that lives."""
    server.stop()
    pid_file, over = server._cluster / "postmaster.pid", threading.Event()  # noqa: SLF001
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        pid_file.write_text(f"{thread.native_id}\n/\n1\n5432\n/\nlocalhost\n\nready\n")
        server.start()
    finally:
        over.set()
    psycopg.connect(server.url()).close()


def test_a_port_that_was_taken_meanwhile_is_replaced(server: EmbeddedPostgres) -> None:
    port = server.port
    server.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        server.start()
        assert server.port != port
    psycopg.connect(server.url()).close()


def test_a_stopped_server_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPartFailed, match=r"is not started: call start\(\) first"):
        EmbeddedPostgres(tmp_path).url()


def test_making_a_database_again_changes_nothing(postgres: EmbeddedPostgres) -> None:
    name = 'odd "name" / with ? signs'
    postgres.create_database(name)
    with psycopg.connect(postgres.url(name), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept ()")
    postgres.create_database(name)
    with psycopg.connect(postgres.url(name)) as connection:
        assert connection.execute("SELECT to_regclass('kept') IS NOT NULL").fetchone() == (True,)
    postgres.drop_database(name)


@pytest.fixture
def stranger(postgres: EmbeddedPostgres, database: str) -> Iterator[str]:
    """A login role with a password and no rights; the name of the test's database is its own, too."""
    name = str(conninfo_to_dict(database)["dbname"])
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
        yield name
        connection.execute(f"REVOKE ALL ON DATABASE {name} FROM {name}")
        connection.execute(f"DROP ROLE {name}")


def test_a_role_with_connect_comes_in_with_the_right_password_only(
    postgres: EmbeddedPostgres, database: str, stranger: str
) -> None:
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(f"GRANT CONNECT ON DATABASE {stranger} TO {stranger}")
    with log_in(postgres, stranger, password="right") as connection:
        assert connection.execute("SELECT current_user").fetchone() == (stranger,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE public.mine ()")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(postgres, stranger, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        log_in(postgres, stranger, passfile=os.devnull)


def test_nobody_connects_to_a_database_that_was_not_granted(postgres: EmbeddedPostgres, stranger: str) -> None:
    for database in ("postgres", "template1", stranger):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            log_in(postgres, stranger, dbname=database, password="right")


def test_the_owner_and_its_socket_are_out_of_reach(postgres: EmbeddedPostgres, stranger: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(postgres, "postgres", password="guess")
    sockets = str(conninfo_to_dict(postgres.url())["host"])
    assert stat.S_IMODE(Path(sockets).stat().st_mode) == 0o700
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        log_in(postgres, stranger, host=sockets, passfile=os.devnull)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")
def test_under_root_the_server_runs_without_privileges(postgres: EmbeddedPostgres) -> None:
    assert Path(f"/proc/{postmaster_of(postgres)}").stat().st_uid != 0


def test_the_broker_is_there_after_its_start_and_gone_after_its_stop(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path)
    broker.start()
    host, port = broker.bootstrap.split(":")
    socket.create_connection((host, int(port)), timeout=1).close()
    broker.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=1)
    with pytest.raises(EmbeddedPartFailed, match="is not started"):
        _ = broker.bootstrap


def test_a_broker_whose_port_is_taken_names_the_port_and_shows_its_log(tmp_path: Path) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        port = thief.getsockname()[1]
        with pytest.raises(EmbeddedPartFailed, match=f"127.0.0.1:{port}, the port is taken"):
            EmbeddedBroker(tmp_path, port=port).start()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's leash is Linux's")
def test_the_broker_does_not_outlive_a_program_that_is_killed(tmp_path: Path) -> None:
    """Started from a thread that ends at once: the leash is tied to a thread, which must last."""
    program = (
        "import pathlib, sys, threading, adapters.embedded.broker as e\n"
        "broker = e.EmbeddedBroker(pathlib.Path(sys.argv[1]))\n"
        "starter = threading.Thread(target=broker.start); starter.start(); starter.join()\n"
        "print(broker.bootstrap, flush=True); input()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        host, port = running.stdout.readline().strip().split(":")
        time.sleep(0.2)
        socket.create_connection((host, int(port)), timeout=1).close()
        running.kill()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.02)
    pytest.fail("the broker still answers")


def postmaster_of(server: EmbeddedPostgres) -> int:
    return int((server._cluster / "postmaster.pid").read_text().split()[0])  # noqa: SLF001


def log_in(server: EmbeddedPostgres, user: str, **overrides: str) -> psycopg.Connection:
    place = {"host": server.host, "port": str(server.port), "dbname": user, "user": user}
    return psycopg.connect(make_conninfo("", **place | overrides))
