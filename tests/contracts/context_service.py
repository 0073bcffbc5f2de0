"""The contract of a context service: what a sidecar, and any other reader, may lean on.

`ContextServiceContract` is the suite. A subclass gives it a `world`: a service at `url` with one tenant that is open,
and the means to change it. The stand-in (test_context_service.py) and the real service pass the same suite.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Protocol

import urllib3

from context.sidecar.services import Service
from tenantry_client.context.document import bucket, decode, fingerprint, from_json
from tenantry_client.context.lease import LogId
from tenantry_client.context.wire import FORMAT, Changes, Frame, Gone, Heartbeat, Hello, read_snapshot

AT_LEAST = "Tenancy-At-Least"


class World(Protocol):
    """A service, and a tenant with one open product."""

    url: str
    tenant: str
    host: str
    product: str

    def suspend(self) -> int:
        """Commits a suspension of the product; its position."""

    def reopen(self) -> int:
        """Commits what opens the product again, and waits until it is open; the last position of it."""


def get(world: World, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return urllib3.request("GET", world.url + path, headers=names, timeout=10.0, retries=False)


def level(world: World, answer: urllib3.BaseHTTPResponse) -> str:
    assert answer.status == 200, answer.data
    return from_json(answer.data).products[world.product].level


def code(answer: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    return answer.status, json.loads(answer.data)["code"]


def log_of(world: World) -> LogId:
    answer = Service(world.url).lease(timeout=10.0)
    return LogId(answer.log, answer.epoch)


def until(frames: Iterator[Frame], position: int) -> list[Frame]:
    """The frames up to the one that reaches the position."""
    found: list[Frame] = []
    for frame in frames:
        found.append(frame)
        if isinstance(frame, Changes | Heartbeat) and frame.position >= position:
            return found
    raise AssertionError("the stream ended")


class ContextServiceContract:
    """The suite; `world` is a fixture of the subclass."""

    def test_a_tenant_is_found_by_its_id_and_by_its_host(self, world: World) -> None:
        by_id, by_host = get(world, f"/v1/tenants/{world.tenant}"), get(world, f"/v1/hosts/{world.host}")
        assert from_json(by_id.data) == from_json(by_host.data)
        assert from_json(by_id.data).tenant_id == world.tenant
        assert level(world, by_id) == "open"
        assert by_id.headers["tenancy-log"] == log_of(world).log
        assert int(by_id.headers["tenancy-position"]) >= from_json(by_id.data).version

    def test_capitals_and_a_port_in_a_host_are_taken_off(self, world: World) -> None:
        assert get(world, f"/v1/hosts/{world.host.upper()}:8443").status == 200
        assert code(get(world, "/v1/hosts/a..b")) == (400, "host-invalid")

    def test_a_document_that_has_not_changed_is_not_sent_again(self, world: World) -> None:
        tag = get(world, f"/v1/tenants/{world.tenant}").headers["etag"]
        again = get(world, f"/v1/tenants/{world.tenant}", If_None_Match=tag)
        assert (again.status, again.data, again.headers["etag"]) == (304, b"", tag)
        world.suspend()
        wait_for_level(world, "closed")
        assert get(world, f"/v1/tenants/{world.tenant}", If_None_Match=tag).status == 200

    def test_what_is_unknown_has_a_code_and_never_an_empty_answer(self, world: World) -> None:
        assert code(get(world, "/v1/tenants/nobody")) == (404, "tenant-unknown")
        assert code(get(world, "/v1/hosts/nobody.example")) == (404, "host-unknown")
        assert code(get(world, "/v1/positions?source=none&id=none")) == (404, "event-unknown")

    def test_an_answer_is_as_fresh_as_its_token(self, world: World) -> None:
        for _ in range(3):
            position = world.suspend()
            answer = get_fresh(world, position)
            assert level(world, answer) == "closed"
            assert int(answer.headers["tenancy-position"]) >= position
            position = world.reopen()
            assert level(world, get_fresh(world, position)) == "open"

    def test_a_position_that_was_never_drawn_is_refused(self, world: World) -> None:
        answer = get(world, f"/v1/tenants/{world.tenant}", **{AT_LEAST: "900000000000"})
        assert code(answer) == (400, "position-not-drawn")
        answer = get(world, f"/v1/tenants/{world.tenant}", **{AT_LEAST: "soon"})
        assert code(answer) == (400, "freshness-token-invalid")

    def test_a_lease_names_what_was_committed_before_it_was_asked_for(self, world: World) -> None:
        for _ in range(3):
            position = world.suspend()
            assert Service(world.url).lease(timeout=10.0).position >= position
            world.reopen()

    def test_the_stream_continues_from_where_the_reader_stands_without_a_gap(self, world: World) -> None:
        log, after = log_of(world), world.suspend()
        get_fresh(world, after)
        frames = Service(world.url).changes(after=after, log=log)
        hello = next(frames)
        assert isinstance(hello, Hello)
        assert (hello.log, hello.epoch, hello.format) == (log.log, log.epoch, FORMAT)
        last = world.reopen()
        position, newest = after, None
        for frame in until(frames, last):
            assert isinstance(frame, Changes | Heartbeat)
            assert frame.after == position <= frame.position
            position = frame.position
            for change in frame.tenants if isinstance(frame, Changes) else ():
                if change.tenant_id == world.tenant and change.document is not None:
                    newest = decode(change.document)
                    assert newest.version == change.version <= frame.position
        assert newest is not None
        assert newest.products[world.product].level == "open"

    def test_a_stream_without_changes_has_a_heartbeat_each_second(self, world: World) -> None:
        log = log_of(world)
        frames = Service(world.url).changes(after=Service(world.url).lease(timeout=10.0).position, log=log)
        assert isinstance(next(frames), Hello)
        started = time.monotonic()
        assert isinstance(next(frames), Heartbeat | Changes)
        assert isinstance(next(frames), Heartbeat | Changes)
        assert time.monotonic() - started < 3.0

    def test_who_stands_on_another_log_is_told_that_it_is_gone(self, world: World) -> None:
        frames = Service(world.url).changes(after=0, log=LogId("another", 0))
        assert [type(each) for each in (next(frames), next(frames))] == [Hello, Gone]

    def test_a_snapshot_is_whole_and_agrees_with_look_ups_and_digest(self, world: World) -> None:
        position = world.suspend()
        get_fresh(world, position)
        hello, *chunks = read_snapshot(Service(world.url).snapshot())
        assert isinstance(hello, Hello)
        assert hello.position >= position
        tenants = [each for chunk in chunks if isinstance(chunk, Changes) for each in chunk.tenants]
        hosts = {each.host: each.tenant_id for chunk in chunks if isinstance(chunk, Changes) for each in chunk.hosts}
        assert [each.tenant_id for each in tenants] == sorted(each.tenant_id for each in tenants)
        (own,) = [each for each in tenants if each.tenant_id == world.tenant]
        assert own.document is not None
        assert decode(own.document) == from_json(get(world, f"/v1/tenants/{world.tenant}").data)
        assert hosts[world.host] == world.tenant
        sums = [0] * 256
        for tenant_id, version, _ in tenants:
            sums[bucket(tenant_id)] += fingerprint(tenant_id, version)
        digest = Service(world.url).digest()
        assert digest.buckets == [f"{each % 2**64:016x}" for each in sums]

    def test_probes_answer(self, world: World) -> None:
        assert [get(world, path).status for path in ("/livez", "/readyz")] == [200, 200]


def get_fresh(world: World, position: int) -> urllib3.BaseHTTPResponse:
    """As fresh as the position; asked again while the service says that it is not there yet."""
    end = time.monotonic() + 10
    while True:
        answer = get(world, f"/v1/tenants/{world.tenant}", **{AT_LEAST: str(position)})
        if answer.status != 503 or time.monotonic() > end:
            return answer


def wait_for_level(world: World, wanted: str) -> None:
    end = time.monotonic() + 10
    while level(world, get(world, f"/v1/tenants/{world.tenant}")) != wanted:
        assert time.monotonic() < end, f"the product did not become {wanted}"
        time.sleep(0.02)
