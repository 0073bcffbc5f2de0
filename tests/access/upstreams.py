"""Servers on loopback for tests of proxies: upstreams that note what reached them, and authorizers that misbehave."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def listening(serve: Serve, *, port: int = 0) -> Iterator[int]:
    """A server in a thread of its own; yields its port. Connections are cut at the end."""
    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), [0]
    stopping = asyncio.Event()
    writers: set[asyncio.StreamWriter] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            await serve(reader, writer)
        writers.discard(writer)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(one, "127.0.0.1", port, backlog=1024)
        ports[0] = server.sockets[0].getsockname()[1]
        ready.set()
        await stopping.wait()
        server.close()
        for writer in list(writers):
            writer.transport.abort()

    def run() -> None:
        with suppress(RuntimeError):
            loop.run_until_complete(main())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)


@dataclass
class Upstream:
    """An application that answers 200 to everything. `heads` are the requests that reached it."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    served: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.served += 1
            self.heads = [*self.heads[-99:], head]
            body = json.dumps({"path": head.split(" ")[1]}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nTenancy-Tenant: told\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    def last(self) -> dict[str, str]:
        """The headers of the last request, names in lower case; one that came twice is joined by `|`."""
        found: dict[str, str] = {}
        for line in self.heads[-1].split("\r\n")[1:]:
            name, colon, value = line.partition(":")
            if colon:
                key = name.lower()
                found[key] = f"{found[key]}|{value.strip()}" if key in found else value.strip()
        return found


_BIG = b"X-Big: " + b"a" * 200_000 + b"\r\n"
_GOOD = b"Tenancy-Tenant: t-1\r\nTenancy-Account: ada\r\nTenancy-Product: jira-software\r\nTenancy-At-Least: 5\r\n"

GARBAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n" + _GOOD + b"\r\n",
    b"HTTP/1.1 200 OK\r\n" + _GOOD + b"Content-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + _GOOD + b"Tenancy-Region: moon\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + _GOOD + b"Tenancy-Region: EU\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + _GOOD + b"Tenancy-Region: eu, eu\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTenancy-Region: eu\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTenancy-Region: eu\r\nTenancy-Tenant: t-1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + _GOOD,
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 2OO OK\r\n\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"200\r\n\r\n",
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"\x00" * 512,
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + _BIG + b"\r\n",
    b"",
)
"""Answers of whoever listens at the authorizer's port. None is a whole decision."""


@dataclass
class BrokenAuthorizer:
    """Answers each question with the next of GARBAGE, or never: `mode` is garbage or slow."""

    mode: str = "garbage"
    asked: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            if self.mode == "slow":
                await asyncio.sleep(3)
                writer.write(b"HTTP/1.1 200 OK\r\n" + _GOOD + b"Tenancy-Region: eu\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                continue
            answer = GARBAGE[self.asked % len(GARBAGE)]
            writer.write(answer)
            await writer.drain()
            if not answer.endswith(b"\r\n\r\n"):
                return
