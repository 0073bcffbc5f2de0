"""Rate limits behind the middleware: who passes, what is told, and what a coordinator that is away means."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field

import pytest

from tenantry_client.access import AllowList, InvalidAllowList, RateLimits
from tenantry_client.access.middleware import AccessMiddleware, Message
from tenantry_client.access.rates import CHUNK_SECONDS, Admitted, CoordinatorUnavailable, Limit, RateCoordinator
from tenantry_client.asap import FixedKeys, LocalReplays, Verifier
from tests.clients.access.test_middleware import SERVICE, Application, Reply, bearer, request
from tests.clients.asap.mutants import KEYS

TEXT = """
[[allow]]
caller = "billing"
callee = "context-service"
routes = ["GET /v1/tenants/{id}"]
limit = {name = "billing-reads", per_second = 1, burst = 3}
"""
ALLOWED = AllowList.parse(TEXT)
LIMIT = Limit("billing-reads", 1, 3)


@dataclass
class Coordinator:
    """Admits `left` requests, then none for a second; each answer takes `slow` seconds."""

    left: int = 3
    slow: float = 0.0
    is_away: bool = False
    more: int = 0
    asked: list[tuple[Limit, int]] = field(default_factory=list)

    def admit(self, limit: Limit, requests: int) -> Admitted:
        self.asked.append((limit, requests))
        time.sleep(self.slow)
        if self.is_away:
            raise CoordinatorUnavailable("a test")
        found = min(requests, self.left)
        self.left -= found
        return Admitted(found + self.more, 0.0 if found else 1.0)


def guarded(app: Application, coordinator: RateCoordinator | None) -> AccessMiddleware:
    verifier = Verifier(
        SERVICE, FixedKeys(KEYS), may_call=lambda issuer: ALLOWED.knows(issuer, callee=SERVICE), replays=LocalReplays()
    )
    return AccessMiddleware(
        app,
        service=SERVICE,
        verifier=verifier,
        allow_list=lambda: ALLOWED,
        limits=RateLimits(coordinator) if coordinator is not None else None,
    )


def asked(guard: AccessMiddleware, number: int) -> list[Reply]:
    """So many requests one after the other, in one event loop."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    async def all_of_them() -> None:
        for _ in range(number):
            path = "/v1/tenants/t-1"
            scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
            await guard({**scope, "headers": [bearer()]}, receive, send)

    asyncio.run(all_of_them())
    return [
        Reply(
            start["status"],
            None if start["status"] == 200 else json.loads(body["body"])["code"],
            dict(start["headers"]),
        )
        for start, body in zip(sent[::2], sent[1::2], strict=True)
    ]


def refused(reply: Reply, status: int, code: str) -> None:
    assert (reply.status, reply.code) == (status, code)
    assert int(reply.headers[b"retry-after"]) >= 1
    assert reply.headers[b"ratelimit-policy"] == b'"billing-reads";q=1;w=1'


def test_the_burst_passes_and_then_429_says_which_limit_and_when_to_come_again() -> None:
    app, coordinator = Application(), Coordinator()
    guard = guarded(app, coordinator)
    replies = asked(guard, 5)
    assert [each.status for each in replies] == [200, 200, 200, 429, 429]
    assert replies[0].headers[b"ratelimit-policy"] == b'"billing-reads";q=1;w=1'
    assert replies[0].headers[b"ratelimit"].startswith(b'"billing-reads";r=')
    refused(replies[3], 429, "limit-exceeded")
    assert len(app.reached) == 3
    assert {limit for limit, _ in coordinator.asked} == {LIMIT}


@pytest.mark.parametrize(
    "coordinator",
    [Coordinator(is_away=True), Coordinator(slow=2 * CHUNK_SECONDS), Coordinator(more=50), None],
    ids=["away", "slow", "too many", "none"],
)
def test_without_a_good_answer_in_time_nothing_passes(coordinator: Coordinator | None) -> None:
    app = Application()
    reply = request(guarded(app, coordinator))
    refused(reply, 503, "limit-unavailable")
    assert not app.reached


def test_a_coordinator_that_is_away_is_not_asked_again_at_once() -> None:
    coordinator = Coordinator(is_away=True)
    for reply in asked(guarded(Application(), coordinator), 20):
        refused(reply, 503, "limit-unavailable")
    assert len(coordinator.asked) == 1


def test_a_chunk_that_was_not_used_in_time_is_worth_nothing() -> None:
    clock, coordinator = [0.0], Coordinator(left=100)
    limits = RateLimits(coordinator, monotonic=lambda: clock[0])

    async def story() -> None:
        limit = Limit("reads", 1_000, 100)
        assert (await limits.admit(limit)).code is None
        await asyncio.gather(*(limits.admit(limit) for _ in range(30)))
        coordinator.is_away = True
        await asyncio.sleep(0.05)  # the question that was under way
        clock[0] += CHUNK_SECONDS
        assert (await limits.admit(limit)).code == "limit-unavailable"

    asyncio.run(story())


def test_many_requests_at_once_are_one_question() -> None:
    coordinator = Coordinator(left=1_000, slow=0.02)
    limits = RateLimits(coordinator)

    async def story() -> list[str | None]:
        limit = Limit("reads", 1_000, 1_000)
        return [each.code for each in await asyncio.gather(*(limits.admit(limit) for _ in range(200)))]

    assert asyncio.run(story()).count(None) == 200
    assert len(coordinator.asked) <= 4


@pytest.mark.parametrize(
    "wrong",
    [
        "limit = 5",
        'limit = {name = "a"}',
        'limit = {name = "A b", per_second = 1, burst = 1}',
        'limit = {name = "a", per_second = 0, burst = 1}',
        'limit = {name = "a", per_second = 1.5, burst = 1}',
        'limit = {name = "a", per_second = true, burst = 1}',
        'limit = {name = "a", per_second = 1, burst = 1, more = 1}',
    ],
)
def test_a_limit_that_is_none_makes_the_file_wrong(wrong: str) -> None:
    with pytest.raises(InvalidAllowList, match="entry 1"):
        AllowList.parse(TEXT.replace('limit = {name = "billing-reads", per_second = 1, burst = 3}', wrong))


def test_one_name_is_one_limit() -> None:
    assert ALLOWED.limits == {"billing-reads": (LIMIT, SERVICE)}
    AllowList.parse(TEXT + TEXT)
    with pytest.raises(InvalidAllowList, match="another one elsewhere"):
        AllowList.parse(TEXT + TEXT.replace("burst = 3", "burst = 4"))
