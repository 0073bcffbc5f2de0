"""Clients of an edge for tests: one request as raw bytes, or a hundred thousand over many connections."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def code(self) -> str | None:
        """The code of a refusal of ours, from the header or the body."""
        if "tenancy-refusal" in self.headers:
            return self.headers["tenancy-refusal"]
        return self.body.split('"code": "')[1].split('"')[0] if '"code": "' in self.body else None


def request(path: str, host: str, *headers: str, method: str = "GET") -> bytes:
    """A request as bytes; headers are whole lines."""
    return "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "")).encode(
        "latin-1"
    )


def ask(port: int, raw: bytes) -> Reply:
    """The reply to one request; status 0 where the connection was cut."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(raw)
        content = b""
        try:
            while b"\r\n\r\n" not in content and (part := connection.recv(65536)):
                content += part
            head, _, body = content.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            while len(body) < int(headers.get("content-length", 0)) and (part := connection.recv(65536)):
                body += part
        except OSError:
            return Reply(0)
    return Reply(int(lines[0].split(" ")[1]) if lines[0].startswith("HTTP/1.") else 0, headers, body.decode("latin-1"))


def flood(port: int, raw: bytes, *, requests: int, connections: int = 64) -> Counter[int]:
    """That many requests over that many connections at a time; how many replies had which status, 0 for a cut."""

    async def one(share: int, seen: Counter[int]) -> None:
        reader = writer = None
        while share:
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(raw)
                head = await reader.readuntil(b"\r\n\r\n")
                size = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(size or 0))
                seen[int(head.split(b" ")[1])] += 1
                if b"connection: close" in head.lower():
                    writer.close()
                    writer = None
            except (OSError, asyncio.IncompleteReadError):
                seen[0] += 1
                writer = None
            share -= 1
        if writer is not None:
            writer.close()

    async def all_of_them() -> Counter[int]:
        seen: Counter[int] = Counter()
        shares = [requests // connections + (number < requests % connections) for number in range(connections)]
        await asyncio.gather(*(one(share, seen) for share in shares if share))
        return seen

    return asyncio.run(all_of_them())
