"""A browser in this process: requests to the console's application, by ASGI, without a socket."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from starlette.types import ASGIApp, Message, Scope

from console.access import COOKIE, Access, Proxies
from console.run import RunningConsole
from runtime.compose.console import ConsoleParts

T = TypeVar("T")
HOST = "127.0.0.1:7000"
TOKEN = "the-token-of-the-tests"
EVERYTHING = frozenset({"viewer", "operator", "approver"})


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str | None:
        """The code of the error that it shows."""
        found = re.search(r'data-code="([^"]*)"', self.text)
        return found[1] if found else None

    def form_token(self) -> str:
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', self.text)
        assert found, "the page has no form"
        return found[1]


class Browser:
    """The console in a loop of its own, and one who asks it."""

    def __init__(self, made_of: ConsoleParts, access: Access) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.headers: dict[str, str] = {"host": HOST, "cookie": f"{COOKIE}={TOKEN}"}
        self.peer = "127.0.0.1"
        self.running = self._do(_started(made_of, access))

    def close(self) -> None:
        self._do(self.running.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self._do(_request(self.running.app, self._scope("GET", path, headers), b""))

    def post(self, path: str, form: Mapping[str, object], **headers: str) -> Answer:
        body = urlencode(form, doseq=True).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"sec-fetch-site": "same-origin", "content-length": str(len(body)), **named}
        return self._do(_request(self.running.app, self._scope("POST", path, given), body))

    def sends(self, page: str, act: str, **form: object) -> Answer:
        """The form of that page."""
        return self.post(f"/act/{act}", {"form_token": self.get(page).form_token(), **form})

    def watch(self, path: str, *, until: Callable[[str], bool], seconds: float = 10.0) -> str:
        """What the stream says, until that is so."""
        return self._do(_watched(self.running.app, self._scope("GET", path, {}), until, seconds))

    def _scope(self, method: str, path: str, headers: Mapping[str, str]) -> Scope:
        parts = urlsplit(path)
        given = {name.replace("_", "-"): value for name, value in {**self.headers, **headers}.items() if value}
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": (self.peer, 50_000),
            "server": ("127.0.0.1", 7000),
        }

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


def access(*, proxies: Proxies = Proxies(), token: str | None = TOKEN) -> Access:  # noqa: B008 - frozen
    hosts = frozenset({"127.0.0.1", "localhost"})
    return Access(secret=b"of the tests", token=token, account="ada@desk", hosts=hosts, proxies=proxies)


async def _started(made_of: ConsoleParts, access: Access) -> RunningConsole:
    return await RunningConsole(made_of, access).__aenter__()


@dataclass
class _Received:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")


async def _request(app: ASGIApp, scope: Scope, body: bytes) -> Answer:
    received = _Received()
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return given.pop() if given else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        received.take(message)

    await app(scope, receive, send)
    return Answer(received.status, received.headers, received.body.decode())


async def _watched(app: ASGIApp, scope: Scope, until: Callable[[str], bool], seconds: float) -> str:
    received, gone = _Received(), asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        received.take(message)
        if until(received.body.decode()):
            gone.set()

    async with asyncio.timeout(seconds):
        await app(scope, receive, send)
    return received.body.decode()
