"""The stand-in of the context service: a log in memory behind the real wire, with faults that a test can plant.

It passes the same contract suite as the real service (tests/contracts/test_context_service.py). One process serves the
same log on several ports, so that a sidecar has its two services; faults are planted for each port.

    POST /control   {"do": "create" | "suspend" | ..., ...} -> {"position": N}     answered when it is committed
    POST /fault     {"name": ..., "value": ...}                                    for this port
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec
import uvicorn

from tenantry_client.access.middleware import Receive, Scope, Send, at_least
from tenantry_client.context.document import Placement, Product, TenantContext, bucket, encode, fingerprint, to_json
from tenantry_client.context.hosts import normal_host
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.wire import (
    FORMAT,
    Changes,
    Gone,
    Heartbeat,
    Hello,
    HostChange,
    TenantChange,
    write_snapshot,
)
from tenantry_client.context.wire import encode as frame_of

HEARTBEAT: Final = 0.3
CHUNK: Final = 1_000


def document(tenant_id: str, host: str, version: int, access: str = "open") -> TenantContext:
    """A tenant with one product that is as open as it is."""
    return TenantContext(
        tenant_id=tenant_id,
        customer_id=f"c-{tenant_id}",
        site_name=host.partition(".")[0],
        host=host,
        lifecycle="active",
        access="open",
        version=version,
        products={"crm": Product(access, "crm", "premium", 25, ("export",))},  # type: ignore[arg-type]
        placements={"crm": Placement("eu", "eu-1", "127.0.0.1:5432", f"d_{tenant_id}", "crm", f"r_{tenant_id}")},
    )


@dataclass
class Log:
    """Events that are committed, and what they come to."""

    log: str = "stand-in"
    epoch: int = 0
    position: int = 0
    told_from: int = 0
    tenants: dict[str, TenantContext] = field(default_factory=dict)
    hosts: dict[str, tuple[str, int]] = field(default_factory=dict)
    changes: list[tuple[int, str | None, str | None]] = field(default_factory=list)
    times: list[tuple[float, int]] = field(default_factory=list)
    ids: dict[tuple[str, str], int] = field(default_factory=dict)
    past: dict[str, list[tuple[int, TenantContext | None]]] = field(default_factory=dict)

    def do(self, *, do: str, tenant: str = "", host: str = "", count: int = 0, log: str = "", **_: object) -> int:
        """Append one event, and say at which position."""
        if do == "fill":
            for number in range(count):
                self.do(do="create", tenant=f"t-{number}", host=f"t-{number}.example")
            return self.position
        if do == "other-log":
            self.__init__(log=log or self.log, epoch=self.epoch + (not log))  # type: ignore[misc]
            return 0
        if do == "forget":
            self.told_from = self.position
            return self.position
        self.position += 1
        now = self.position
        if do == "create":
            self.tenants[tenant] = document(tenant, host, now)
            self.hosts[host] = (tenant, now)
            self.changes.append((now, tenant, host))
        elif do in {"suspend", "unsuspend"}:
            access = "closed" if do == "suspend" else "open"
            self.tenants[tenant] = document(tenant, self.tenants[tenant].host, now, access)
            self.changes.append((now, tenant, None))
        elif do == "take-host":
            self.hosts[host] = (tenant, now)
            self.changes.append((now, None, host))
        elif do == "release-host":
            if self.hosts.get(host, ("", 0))[0] == tenant:
                del self.hosts[host]
                self.changes.append((now, None, host))
        elif do == "remove":
            del self.tenants[tenant]
            self.changes.append((now, tenant, None))
        if self.changes and self.changes[-1][0] == now and self.changes[-1][1]:
            self.past.setdefault(tenant, []).append((now, self.tenants.get(tenant)))
        self.times.append((time.monotonic(), now))
        self.ids["test", f"e-{now}"] = now
        return now

    def after(self, after: int, until: int) -> Changes | Heartbeat:
        """What changed in (after, until], as it is now."""
        at = len(self.changes)
        while at and self.changes[at - 1][0] > after:
            at -= 1
        found = [each for each in self.changes[at:] if each[0] <= until]
        if not found:
            return Heartbeat(after, until)
        tenants = {tenant for _, tenant, _ in found if tenant}
        hosts = {host: position for position, _, host in found if host}
        return Changes(
            after,
            until,
            [TenantChange(each, *self._stored(each, until)) for each in sorted(tenants)],
            [HostChange(host, self.hosts.get(host, (None, 0))[0], hosts[host]) for host in sorted(hosts)],
        )

    def _stored(self, tenant_id: str, until: int) -> tuple[int, bytes | None]:
        past = [each for each in self.past.get(tenant_id, []) if each[0] <= until]
        at, found = past[-1] if past else (until, None)
        return at, None if found is None else encode(found)

    def snapshot(self) -> list[Changes]:
        names, hosts = sorted(self.tenants, key=str.encode), sorted(self.hosts, key=str.encode)
        return [
            *(
                Changes(
                    self.position,
                    self.position,
                    [TenantChange(each, *self._stored(each, self.position)) for each in names[at : at + CHUNK]],
                    [],
                )
                for at in range(0, len(names), CHUNK)
            ),
            *(
                Changes(
                    self.position,
                    self.position,
                    [],
                    [HostChange(each, *self.hosts[each]) for each in hosts[at : at + CHUNK]],
                )
                for at in range(0, len(hosts), CHUNK)
            ),
        ]


class StandIn:
    """One port. `faults` are planted by tests; none are by default."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.faults: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return None
        path, query = scope["path"], {k: v[0] for k, v in parse_qs(scope["query_string"].decode()).items()}
        while self.faults.get("hang") and scope["method"] != "POST":
            await asyncio.sleep(0.1)
        if scope["method"] == "POST":
            body = msgspec.json.decode((await receive())["body"])
            if path == "/control":
                return await _json(send, 200, {"position": self._log.do(**body)})
            self.faults[body["name"]] = body.get("value")
            return await _json(send, 200, {})
        if path == "/v1/changes":
            return await self._stream(send, self._changes(int(query.get("after", "0")), query.get("log", "")))
        if path == "/v1/snapshot":
            return await self._stream(send, self._snapshot())
        status, headers, answer = self._answer(path, query, scope["headers"])
        if path == "/v1/lease":
            await asyncio.sleep(float(self.faults.get("lease-delay") or 0.0))
        return await _json(send, status, answer, headers)

    def _answer(self, path: str, query: dict[str, str], headers: Any) -> tuple[int, list[tuple[bytes, bytes]], Any]:
        log = self._log
        about = {"log": log.log, "epoch": log.epoch, "position": log.position}
        if path == "/v1/lease":
            if self.faults.get("lease-of-other-log"):
                about |= {"log": "other", "position": 1}
            return 200, [], about
        if path == "/v1/digest":
            sums = [0] * 256
            for name, each in log.tenants.items():
                sums[bucket(name)] += fingerprint(name, each.version)
            sums[0] += int(bool(self.faults.get("digest")))
            return 200, [], about | {"buckets": [f"{each % 2**64:016x}" for each in sums]}
        if path == "/v1/positions":
            found = log.ids.get((query.get("source", ""), query.get("id", "")))
            return (404, [], {"code": "event-unknown"}) if found is None else (200, [], {"position": found})
        if path in {"/livez", "/readyz"}:
            return 200, [], {}
        try:
            return self._look_up(path, headers)
        except ContextRefused as refused:
            return refused.status, self._marks(), {"code": refused.code, "message": str(refused)}

    def _marks(self) -> list[tuple[bytes, bytes]]:
        return [(b"tenancy-position", str(self._log.position).encode()), (b"tenancy-log", self._log.log.encode())]

    def _look_up(self, path: str, headers: Any) -> tuple[int, list[tuple[bytes, bytes]], Any]:
        log = self._log
        try:
            token = at_least(headers) or 0
        except ValueError as error:
            raise ContextRefused("freshness-token-invalid", str(error)) from None
        if token > log.position:
            raise ContextRefused("position-not-drawn", "no such position was drawn yet")
        what, _, name = path.removeprefix("/v1/").partition("/")
        name = unquote(name)
        if what == "hosts":
            tenant_id, _at = log.hosts.get(normal_host(name), ("", 0))
            if tenant_id not in log.tenants:
                raise ContextRefused("host-unknown", f"no tenant has the host {name}")
        else:
            tenant_id = name
            if tenant_id not in log.tenants:
                raise ContextRefused("tenant-unknown", f"there is no tenant {name}")
        seen, tag = log.tenants[tenant_id].seen_at(time.time())
        marks = [(b"etag", tag.encode()), *self._marks()]
        if any(key == b"if-none-match" and value == tag.encode() for key, value in headers):
            return 304, marks, b""
        return 200, marks, to_json(seen)

    def _mark(self) -> int:
        """Up to where this port tells the log: behind, where it is planted."""
        behind = self.faults.get("lag") or 0
        if not behind:
            return self._log.position
        past = [position for at, position in self._log.times if at < time.monotonic() - behind]
        return past[-1] if past else 0

    async def _changes(self, after: int, told: str) -> AsyncIterator[bytes]:
        log = self._log
        position = self._mark()
        yield frame_of(Hello(log.log, log.epoch, self.faults.get("format") or FORMAT, position))
        if told != log.log or after < log.told_from or after > log.position:
            yield frame_of(Gone())
            return
        at, identity = after, (log.log, log.epoch)
        heard = time.monotonic()
        while (log.log, log.epoch) == identity:
            if self.faults.get("silent") or self.faults.get("hang"):
                await asyncio.sleep(0.01)
                continue
            mark = at if self.faults.get("heartbeats-only") else max(at, self._mark())
            if mark == at and time.monotonic() - heard < HEARTBEAT:
                await asyncio.sleep(0.002)
                continue
            told_now = log.after(at, mark)
            frame = frame_of(told_now)
            if self.faults.get("drop-changes") and isinstance(told_now, Changes):
                frame = b""
            for sent in self._planted(frame):
                yield sent
            at, heard = mark, time.monotonic()

    def _planted(self, frame: bytes) -> list[bytes]:
        chance = float(self.faults.get("frames") or 0.0)
        if random.random() >= chance:  # noqa: S311 - which frame, is no secret
            return [frame]
        fault = random.choice(("drop", "double", "garble", "old"))  # noqa: S311
        garbled = bytearray(frame)
        garbled[-1] ^= 1
        old = frame_of(Heartbeat(0, 1))
        return {"drop": [], "double": [frame, frame], "garble": [bytes(garbled)], "old": [old, frame]}[fault]

    async def _snapshot(self) -> AsyncIterator[bytes]:
        log = self._log
        sent = b"".join(write_snapshot(Hello(log.log, log.epoch, FORMAT, log.position), log.snapshot()))
        if self.faults.get("snapshot") == "cut":
            sent = sent[: len(sent) // 2]
        if self.faults.get("snapshot") == "garbled":
            sent = sent[:40] + bytes([sent[40] ^ 1]) + sent[41:]
        for at in range(0, len(sent), 65536):
            yield sent[at : at + 65536]

    async def _stream(self, send: Send, pieces: AsyncIterator[bytes]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _json(send: Send, status: int, body: object, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(encoded)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": encoded})


async def serve(ports: list[int], *, make: Callable[[Log], StandIn] = StandIn) -> None:
    """The same log on all of the ports."""
    log = Log()
    servers = [
        uvicorn.Server(
            uvicorn.Config(make(log), host="127.0.0.1", port=port, log_config=None, access_log=False, lifespan="off",
                           timeout_graceful_shutdown=1)
        )
        for port in ports
    ]  # fmt: skip
    await asyncio.gather(*(each.serve() for each in servers))


if __name__ == "__main__":
    asyncio.run(serve([int(each) for each in sys.argv[1:]]))
