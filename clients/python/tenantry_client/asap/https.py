"""One GET over HTTPS with a hard end: for keys, which are asked for while a request waits.

Nothing is followed, retried, unpacked or taken from proxy variables. A time-out of a socket begins anew with each byte,
so the connection is cut off when its time is over, whatever comes.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit


class Location(NamedTuple):
    """Where something is over HTTPS."""

    host: str
    port: int
    path: str


class Answer(NamedTuple):
    """`body` is cut after the limit and a byte, so that one that is too long shows."""

    status: int
    media_type: str
    body: bytes


def location(url: str, what: str) -> Location:
    """Raises ValueError where the URL is no https one, or has a user, a query or a fragment."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{what} is https://host/path, without user, query or fragment")
    return Location(parts.hostname, parts.port or 443, parts.path.rstrip("/"))


def get(place: Location, path: str, *, accept: str, limit: int, timeout: float, tls: ssl.SSLContext) -> Answer:
    """Asks for `path` at that host; within `timeout` for the connection, and again for all the rest.

    Raises OSError and http.client.HTTPException.
    """
    with (
        socket.create_connection((place.host, place.port), timeout=timeout) as plain,
        tls.wrap_socket(plain, server_hostname=place.host, do_handshake_on_connect=False) as secured,
        _cut_off(secured, after=timeout),
    ):
        secured.do_handshake()
        connection = HTTPConnection(place.host, place.port)
        connection.sock = secured
        connection.request("GET", path, headers={"accept": accept, "connection": "close"})
        with connection.getresponse() as response:
            media_type = (response.getheader("content-type") or "").partition(";")[0].strip().lower()
            return Answer(response.status, media_type, response.read(limit + 1))


@contextmanager
def _cut_off(tls: ssl.SSLSocket, *, after: float) -> Iterator[None]:
    def cut() -> None:
        with suppress(OSError):
            socket.socket.shutdown(tls, socket.SHUT_RDWR)

    timer = threading.Timer(after, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
