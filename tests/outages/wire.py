"""A TCP proxy between the workers and one server, which a test can let fail.

`Wire` listens on a port that stays the same and passes bytes on to the server. It runs on a thread of its own. In each
mode but the first the server is well; only the way to it is not:

    passes    bytes go through, both ways
    refuses   open connections are reset, new ones are refused; the port stays ours
    hangs     connections are accepted, and no byte goes through
    resets    a request goes through, and now and then the connection is reset before its answer comes back; of the
              requests with `marked` in them three of four lose it
    slow      each piece of bytes is late by `LATE_SECONDS`
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Literal, Self

LOOPBACK: Final = "127.0.0.1"
LATE_SECONDS: Final = 0.05
RESET_SHARE: Final = 0.03
"""Of the requests that lose their connection in mode `resets`."""

Mode = Literal["passes", "refuses", "hangs", "resets", "slow"]


class Wire:
    """The way to one server. `server_port` is asked for each new connection: a restarted server may have another."""

    def __init__(self, server_port: Callable[[], int], *, seed: int = 1, marked: bytes | None = None) -> None:
        self._server_port = server_port
        self._marked = marked
        self._marked_seen = 0
        self._rng = random.Random(seed)  # noqa: S311 - a seed is the point
        self._mode: Mode = "passes"
        self._flows = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._listener: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        # Bound, but it does not listen: while nobody else does, the kernel refuses, and nobody else gets the port.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        self._flows.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    def set(self, mode: Mode) -> None:
        """From now on, for connections that are open as well."""
        self._do(self._switch(mode))

    def cut(self) -> None:
        """Reset every connection that is open, once."""
        self._do(self._cut())

    def client_port(self, server_side: int) -> int | None:
        """The port of the client whose connection reaches the server from port `server_side`."""
        for writer in list(self._open):
            other = getattr(writer, "peer", None)
            if other is not None and writer.get_extra_info("sockname")[1] == server_side:
                return int(other.get_extra_info("peername")[1])
        return None

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    # -- on the loop ---------------------------------------------------------------------------------------------------

    async def _switch(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "hangs":
            self._flows.clear()
        else:
            self._flows.set()
        if mode == "refuses":
            await self._refuse()
        elif mode == "resets":
            await self._cut()
        if mode != "refuses" and self._listener is None:
            await self._listen()

    async def _listen(self) -> None:
        listening = _bound(self.port)
        listening.listen(128)
        self._listener = await asyncio.start_server(self._serve, sock=listening)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _end(self) -> None:
        """Nothing is left open: a connection that was just being made ends as well."""
        await self._refuse()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.01)  # the transports that were aborted close in the turns that follow

    async def _cut(self) -> None:
        for writer in list(self._open):
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self._server_port())
        except (OSError, asyncio.CancelledError):
            _reset(writer)
            return
        server_writer.peer = writer  # type: ignore[attr-defined]
        both = {writer, server_writer}
        self._open |= both
        try:
            await asyncio.gather(self._pump(reader, server_writer, writer), self._pump(server_reader, writer, None))
        finally:
            self._open -= both
            for each in both:
                _reset(each)

    def _strikes(self, request: bytes) -> bool:
        if self._marked is None or self._marked not in request:
            return self._rng.random() < RESET_SHARE
        self._marked_seen += 1
        return self._marked_seen % 4 != 0

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asking: asyncio.StreamWriter | None
    ) -> None:
        """Bytes of one direction; `asking` is the client where they are requests."""
        with suppress(OSError):
            while data := await reader.read(2**16):
                await self._flows.wait()
                if self._mode == "slow":
                    await asyncio.sleep(LATE_SECONDS)
                if asking is not None and self._mode == "resets" and self._strikes(data):
                    _reset(asking)  # the server gets the request all the same, and answers nobody
                writer.write(data)
                await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.close()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((LOOPBACK, port))
    return made


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    with suppress(OSError):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
