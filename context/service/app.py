"""The context service's HTTP: look-ups, the stream of changes, snapshots, leases. A bare ASGI application.

    /v1/tenants/{id}  /v1/hosts/{host}   the document; ETag, Tenancy-At-Least
    /v1/changes  /v1/snapshot            frames (tenantry_client/context/wire.py)
    /v1/lease  /v1/digest                what a sidecar lives by, and compares itself with
    /v1/positions                        the freshness token of a producer's event
    /v1/openapi.json  /livez  /readyz  /metrics

The service is a cache as well: it may not let anybody in on what it read from a database that stands still. So it asks
for leases of its own, once a second, and answers look-ups only while one holds; else 503, and no stale "open".
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from adapters.postgres.contexts import ContextReader, ContextRow, LogPosition
from context.service.feed import Feed, catch_up
from context.service.leases import Leases, NoLease
from context.service.openapi import openapi
from context.service.readers import Readers
from context.service.snapshots import Snapshots, digest_of
from domain.errors import TenantryError
from tenantry_client.access.middleware import AT_LEAST, CALLER, Receive, Scope, Send, at_least
from tenantry_client.context.document import decode, to_json
from tenantry_client.context.hosts import normal_host
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.wire import FORMAT, Gone, Heartbeat, Hello, encode

JSON: Final = (b"content-type", b"application/json")
FRAMES: Final = (b"content-type", b"application/octet-stream")
HEARTBEAT_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 0.05
"""How long a look-up waits for its freshness token."""
SEND_TIMEOUT_SECONDS: Final = 20.0
"""After which a reader that takes nothing from its stream is let go: it begins anew from its own watermark."""

Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, Headers, bytes]


class ContextService:
    """`readers` are for look-ups, by threads; `feed` and `leases` have readers of their own. `lease_seconds` is T."""

    def __init__(
        self, *, readers: Readers, feed: Feed, leases: Leases, snapshots: Snapshots, lease_seconds: float
    ) -> None:
        self._readers = readers
        self._feed = feed
        self._leases = leases
        self._snapshots = snapshots
        self._lease_seconds = lease_seconds
        self._moved = asyncio.Event()
        self.fresh_until = float("-inf")
        self._why = "no lease was answered yet"
        self._counts: dict[str, int] = {"look_ups": 0, "refused": 0, "streams": 0, "snapshots": 0, "frames": 0}

    @property
    def is_fresh(self) -> bool:
        """Whether what the tables say counts: an own lease holds."""
        return time.monotonic() < self.fresh_until

    def notified(self) -> None:
        """The feed has moved; in the loop's thread."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def keep_fresh(self) -> None:
        """Ask for an own lease once a second, for as long as the service runs."""
        while True:
            asked = time.monotonic()
            try:
                upto = await self._leases.ask()
                while self._feed.at.position < upto.position and time.monotonic() < asked + self._lease_seconds:
                    await self._wait(0.25)
                if self._feed.at.position >= upto.position:
                    self.fresh_until = asked + self._lease_seconds
                    self._why = ""
                else:
                    self._why = f"the contexts are at position {self._feed.at.position}, the log at {upto.position}"
            except NoLease as refused:
                self._why = str(refused)
            except Exception as error:  # noqa: BLE001 - a service that never asks again would be refused for ever
                self._why = f"its own question for a lease failed: {type(error).__name__}"
            await asyncio.sleep(max(0.0, asked + 1.0 - time.monotonic()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        if scope["method"] not in {"GET", "HEAD"}:
            answer = _refusal(405, "method-not-allowed", "only GET and HEAD are answered here")
        elif raw == "/v1/changes" and scope["method"] == "GET":
            await self._changes(query, receive, send)
            return
        elif raw == "/v1/snapshot" and scope["method"] == "GET":
            await self._snapshot(send)
            return
        else:
            answer = await self._answer(raw, query, scope)
        status, headers, body = answer
        await _send(send, (status, headers, b"" if scope["method"] == "HEAD" else body))

    async def _answer(self, raw: str, query: dict[str, str], scope: Scope) -> Answer:
        try:
            if raw.startswith(("/v1/tenants/", "/v1/hosts/")):
                return await self._look_up(raw, scope)
            match raw:
                case "/v1/lease":
                    at = await self._leases.ask()
                    return _json(200, {**at._asdict(), "lease_seconds": self._lease_seconds})
                case "/v1/digest":
                    return _json(200, await self._readers.ask(digest_of))
                case "/v1/positions":
                    return await self._position(query)
                case "/v1/openapi.json":
                    return _json(200, openapi())
                case "/livez":
                    return _json(200, {"live": True})
                case "/readyz":
                    about = {"ready": self.is_fresh, **self._feed.at._asdict(), "why": self._why}
                    return _json(200 if self.is_fresh else 503, about)
                case "/metrics":
                    return 200, [(b"content-type", b"text/plain; version=0.0.4")], self._metrics().encode()
                case _:
                    return _refusal(404, "path-unknown", "there is no such path")
        except NoLease as refused:
            return _refusal(503, refused.code, str(refused))
        except TenantryError as error:
            return _refusal(503, "database-unavailable", str(error))

    # -- look-ups -----------------------------------------------------------------------------------------------------

    async def _look_up(self, raw: str, scope: Scope) -> Answer:
        self._counts["look_ups"] += 1
        at = self._feed.at
        try:
            token = _token(scope)
            find = _finder(raw)
            at, row = await self._readers.ask(find)
            if token > at.position:
                at, row = await self._wait_for(token, at, find)
            document = self._document(row, raw)
        except ContextRefused as refused:
            self._counts["refused"] += 1
            return _refusal(refused.status, refused.code, str(refused), at)
        seen, tag = decode(document).seen_at(time.time())
        marks = [(b"etag", tag.encode()), *_marks(at)]
        if any(name == b"if-none-match" and value == tag.encode() for name, value in scope["headers"]):
            return 304, marks, b""
        body = to_json(seen)
        return 200, [JSON, _length(body), *marks], body

    def _document(self, row: ContextRow | None, raw: str) -> bytes:
        """The stored document. Raises ContextRefused."""
        if not self.is_fresh:
            raise ContextRefused("lease-expired", f"this service cannot know what has changed since: {self._why}")
        if row is None or row.document is None:
            raise _unknown(raw)
        if row.halted is not None:
            raise ContextRefused("tenant-halted", f"tenant {row.tenant_id} is halted: {row.halted}")
        return row.document

    async def _wait_for(
        self, token: int, at: LogPosition, find: Callable[[ContextReader], tuple[LogPosition, ContextRow | None]]
    ) -> tuple[LogPosition, ContextRow | None]:
        if token > await self._readers.ask(ContextReader.drawn):
            raise ContextRefused(
                "position-not-drawn", f"the log has not come to position {token} yet", position=at.position
            )
        end = time.monotonic() + PATIENCE_SECONDS
        while self._feed.at.position < token and (left := end - time.monotonic()) > 0:
            await self._wait(left)
        at, row = await self._readers.ask(find)
        if at.position < token:
            raise ContextRefused("not-fresh-enough", f"this service is at position {at.position}: ask again")
        return at, row

    async def _position(self, query: dict[str, str]) -> Answer:
        source, id_ = query.get("source"), query.get("id")
        if not source or not id_:
            return _refusal(400, "query-incomplete", "name the event's source and id")
        if not await self._readers.ask(lambda reader: reader.is_taken_in(source, id_)):
            return _refusal(404, "event-unknown", f"no event {id_} of {source} is in the log: it may come yet")
        return _json(200, {"position": (await self._leases.ask()).position})

    # -- the stream ---------------------------------------------------------------------------------------------------

    async def _changes(self, query: dict[str, str], receive: Receive, send: Send) -> None:
        try:
            after = int(query.get("after", "0"))
        except ValueError:
            await _send(send, _refusal(400, "query-invalid", "after is a log position"))
            return
        log, epoch, at = query.get("log", ""), query.get("epoch"), self._feed.at
        if at.position < 0:
            await _send(send, _refusal(503, "database-unavailable", "the contexts were not read yet: ask again"))
            return
        await send({"type": "http.response.start", "status": 200, "headers": [FRAMES]})
        await self._frame(send, encode(Hello(at.log, at.epoch, FORMAT, at.position)))
        is_ours = log == at.log and epoch in (None, str(at.epoch)) and after >= 0
        if not is_ours or (after > at.position and after > await self._drawn()):
            await self._end(send, encode(Gone()))
            return
        self._counts["streams"] += 1
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await self._follow(send, after, at, gone)
        except TimeoutError:
            return  # the reader takes nothing: uvicorn ends the connection
        except TenantryError:
            pass  # the reader begins anew, here or elsewhere
        finally:
            gone.cancel()
            self._counts["streams"] -= 1
        with suppress(TimeoutError):
            await self._end(send, b"")

    async def _follow(self, send: Send, after: int, at: LogPosition, gone: asyncio.Task[None]) -> None:
        """Frames from the watermark `after` on, until the reader goes, or the log is another one."""
        while not gone.done() and (self._feed.at.log, self._feed.at.epoch) == (at.log, at.epoch):
            moved = self._moved
            found = self._feed.next(after)
            if found is None:
                frame, now = await self._readers.ask(lambda reader: catch_up(reader, after))  # noqa: B023 - awaited here
                if (now.log, now.epoch) != (at.log, at.epoch):
                    return
                await self._frame(send, encode(frame))
                if isinstance(frame, Gone):
                    return
                after = now.position
            elif found[1] > after:
                await self._frame(send, found[0])
                after = found[1]
            else:
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await moved.wait()
                except TimeoutError:
                    await self._frame(send, encode(Heartbeat(after, after)))

    async def _snapshot(self, send: Send) -> None:
        try:
            file = await self._snapshots.current()
        except TenantryError as error:
            await _send(send, _refusal(503, "database-unavailable", str(error)))
            return
        self._counts["snapshots"] += 1
        with file:
            headers = [FRAMES, (b"content-length", str(file.size).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while piece := await asyncio.to_thread(file.read):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._end(send, b"")

    async def _drawn(self) -> int:
        """The last position that was drawn; where the database does not say, every position counts as drawn."""
        try:
            return await self._readers.ask(ContextReader.drawn)
        except TenantryError:
            return sys.maxsize

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _frame(self, send: Send, frame: bytes) -> None:
        self._counts["frames"] += 1
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await send({"type": "http.response.body", "body": frame, "more_body": True})

    async def _end(self, send: Send, last: bytes) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await send({"type": "http.response.body", "body": last})

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()

    def _metrics(self) -> str:
        counts = {**self._counts, "leases": self._leases.asked}
        gauges = {
            "position": self._feed.at.position,
            "fresh_seconds": round(max(0.0, self.fresh_until - time.monotonic()), 3),
            "streams": counts.pop("streams"),
        }
        lines = [f"tenancy_service_{name} {value}" for name, value in gauges.items()]
        lines += [f"tenancy_service_{name}_total {value}" for name, value in counts.items()]
        return "\n".join(lines) + "\n"


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _finder(raw: str) -> Callable[[ContextReader], tuple[LogPosition, ContextRow | None]]:
    """The look-up that the path means. Raises ContextRefused."""
    if raw.startswith("/v1/hosts/"):
        host = normal_host(unquote(raw.removeprefix("/v1/hosts/")))
        return lambda reader: reader.look_up_host(host)
    tenant_id = unquote(raw.removeprefix("/v1/tenants/"))
    if "\x00" in tenant_id:
        raise ContextRefused("tenant-unknown", "there is no such tenant")
    return lambda reader: reader.look_up(tenant_id)


def _unknown(raw: str) -> ContextRefused:
    if raw.startswith("/v1/hosts/"):
        return ContextRefused("host-unknown", "no tenant has this host")
    return ContextRefused("tenant-unknown", "there is no such tenant")


def _token(scope: Scope) -> int:
    """The freshness token: that which the access middleware let through, where there is one."""
    if CALLER in scope:
        return scope.get(AT_LEAST) or 0
    try:
        return at_least(scope["headers"]) or 0
    except ValueError as error:
        raise ContextRefused("freshness-token-invalid", str(error)) from None


def _marks(at: LogPosition) -> Headers:
    return [(b"tenancy-position", str(at.position).encode()), (b"tenancy-log", at.log.encode())]


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


def _json(status: int, body: object, *headers: tuple[bytes, bytes]) -> Answer:
    encoded = msgspec.json.encode(body)
    return status, [JSON, _length(encoded), *headers], encoded


def _refusal(status: int, code: str, message: str, at: LogPosition | None = None) -> Answer:
    about: dict[str, Any] = {"code": code, "message": message}
    marks = _marks(at) if at is not None else []
    return _json(status, about | ({"position": at.position} if at is not None else {}), *marks)


async def _send(send: Send, answer: Answer) -> None:
    status, headers, body = answer
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
