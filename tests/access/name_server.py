"""A name server for tests: answers A and AAAA questions over UDP on loopback, as a table says at the moment."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

A, AAAA = 1, 28


@dataclass
class NameServer:
    """`table`: name -> its addresses. `asked` counts the questions by name."""

    port: int
    table: dict[str, list[str]]
    asked: dict[str, int] = field(default_factory=dict)

    def answer(self, question: bytes) -> bytes:
        """The response to one message. What is unknown has no address."""
        name, end = _name(question, 12)
        kind = struct.unpack_from(">H", question, end)[0]
        self.asked[name] = self.asked.get(name, 0) + 1
        found = [ip_address(each) for each in self.table.get(name, [])]
        records = (
            [each.packed for each in found if each.version == (4 if kind == A else 6)] if kind in (A, AAAA) else []
        )
        head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, len(records), 0, 0)
        body = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, 1, len(each)) + each for each in records)
        return head + question[12 : end + 4] + body


def _name(message: bytes, at: int) -> tuple[str, int]:
    labels = []
    while size := message[at]:
        labels.append(message[at + 1 : at + 1 + size].decode().lower())
        at += 1 + size
    return ".".join(labels), at + 1


@contextmanager
def name_server(table: dict[str, list[str]]) -> Iterator[NameServer]:
    """A server that answers while the block lasts."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        server = NameServer(sock.getsockname()[1], table)
        stopped = threading.Event()

        def serve() -> None:
            while not stopped.is_set():
                question, client = sock.recvfrom(4096)
                if question:
                    sock.sendto(server.answer(question), client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            stopped.set()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", server.port))
            thread.join(5)
