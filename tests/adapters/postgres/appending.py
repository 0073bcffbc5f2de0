"""What do the tests of the event store append, and through what do they break it?"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from uuid import uuid4

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from adapters.postgres.event_log import PostgresEventLog
from domain.event import Cause, Recorded
from domain.tenant.events import ProductSuspended
from tests.fakes.sealing import InMemorySealingKeys

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def a_stream() -> str:
    return f"tenant:{uuid4()}"


def fact(stream: str, version: int = 1) -> Recorded:
    event = ProductSuspended(tenant_id=stream.partition(":")[2], product="jira-software", reason="unpaid")
    return Recorded(stream, version, uuid4(), NOW, Cause(kind="operator", source="test", id="1"), "test 1", event)


def stored(log: PostgresEventLog, count: int = 1, *, stream: str | None = None, after: int = 0) -> list[StoredEvent]:
    """So many events of one stream."""
    stream = stream or a_stream()
    return [log.mapper.to_stored_event(fact(stream, after + version)) for version in range(1, count + 1)]


@contextmanager
def event_log(url: str, *, pool_size: int = 2, append_timeout_seconds: float = 2.0) -> Iterator[PostgresEventLog]:
    log = PostgresEventLog(
        url, InMemorySealingKeys(), pool_size=pool_size, append_timeout_seconds=append_timeout_seconds
    )
    try:
        yield log
    finally:
        log.close()


def committed(url: str) -> list[int]:
    """Every position that is in the log, in order, with no regard to the mark."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT notification_id FROM stored_events ORDER BY notification_id").fetchall()
    return [position for (position,) in rows]


class Wire:
    """Stands between psycopg and the server's socket, and cuts a connection at the worst moment.

    `cut_answer_to(text)`: the server gets the message that holds `text`, and does what it says; its answer is lost.
    `cut_before(text)`: that message is lost itself. Either happens once.
    """

    def __init__(self, url: str) -> None:
        self._parts = conninfo_to_dict(url)
        self._server = f"{self._parts['host']}/.s.PGSQL.{self._parts['port']}"
        self._directory = Path(tempfile.mkdtemp(prefix="wire-"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._directory / ".s.PGSQL.5432"))
        self._listener.listen()
        self._lose_answer: bytes | None = None
        self._lose_message: bytes | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.cuts = 0

    @property
    def url(self) -> str:
        return make_conninfo(dbname=self._parts["dbname"], user="postgres", host=str(self._directory), port="5432")

    def cut_answer_to(self, text: str) -> None:
        self._lose_answer = text.encode()

    def cut_before(self, text: str) -> None:
        self._lose_message = text.encode()

    def hang_up(self) -> None:
        """Cut the clients off now; the server goes on with what it was told."""
        for client, _ in list(self._pairs):  # not those who come again meanwhile
            self._end(client)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *(end for pair in self._pairs for end in pair)):
            self._end(each)
            each.close()
        shutil.rmtree(self._directory)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._pairs.append((client, server))
                cut = threading.Event()
                for way in (self._to_server, self._to_client):
                    threading.Thread(target=way, args=(client, server, cut), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while message := client.recv(1 << 20):
                if self._lose_message is not None and self._lose_message in message:
                    self._lose_message = None
                    break
                if self._lose_answer is not None and self._lose_answer in message:
                    self._lose_answer = None
                    cut.set()
                server.sendall(message)
            else:
                return  # the client hung up: the server finds out when it answers
        self.cuts += 1
        self._end(client, server)

    def _to_client(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while answer := server.recv(1 << 20):
                if cut.is_set():
                    self.cuts += 1
                    break
                client.sendall(answer)
        self._end(client, server)

    def _end(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
