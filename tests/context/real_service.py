"""The real context service over a real log: workers in threads or turned by hand, executors in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import urllib3

from context.service.run import ServiceAddress, serve
from runtime.compose import Parts
from runtime.compose.contexts import context_rules_of, context_store_of
from runtime.compose.projector import log_reader_of, mark_listener_of
from tenantry_client.context.document import from_json
from tests.cli.conftest import TENANT, Desk
from workers.context_projector import ContextProjector

JIRA = "jira-software"
LEASE_SECONDS = 3.0


class RealWorld:
    """A tenant with one product, and the services that tell of it."""

    tenant, product = TENANT, JIRA

    def __init__(self, desk: Desk, urls: list[str]) -> None:
        self.desk = desk
        self.urls = urls
        self.url = urls[0]
        self.host = ""

    def suspend(self) -> int:
        self.desk.comes("product.suspended", product=JIRA, reason="unpaid")
        return self.committed()

    def reopen(self) -> int:
        self.desk.work()
        self.desk.comes("product.unsuspended", product=JIRA)
        self.desk.work()
        position = self.committed()
        self.wait_until_open()
        return position

    def committed(self) -> int:
        """The greatest committed position; the high-water mark may be behind it."""
        with psycopg.connect(self.desk.parts.endpoints.database_url) as connection:
            row = connection.execute("SELECT max(notification_id) FROM stored_events").fetchone()
        assert row is not None
        return int(row[0])

    def wait_until_open(self) -> None:
        end = time.monotonic() + 20
        while True:
            answer = urllib3.request("GET", f"{self.url}/v1/tenants/{TENANT}", timeout=5.0, retries=False)
            if answer.status == 200:
                found = from_json(answer.data)
                if found.is_open(JIRA):
                    self.host = found.host
                    return
            assert time.monotonic() < end, answer.data
            time.sleep(0.02)


@contextmanager
def real_world(desk: Desk, *, services: int = 1) -> Iterator[RealWorld]:
    """The context projector and so many services, each in a thread, for as long as the block lasts."""
    stop = threading.Event()
    with Parts(desk.parts.settings, desk.parts.endpoints) as parts:  # the desk turns its own in this thread
        yield from _running(desk, parts, stop, services)


def _running(desk: Desk, parts: Parts, stop: threading.Event, services: int) -> Iterator[RealWorld]:
    projector = ContextProjector(
        log_reader_of(parts),
        context_store_of(parts),
        configuration=parts.configuration,
        rules_of=partial(context_rules_of, parts),
        batch=500,
        poll_seconds=0.01,
        listener=mark_listener_of(parts),
    )
    ports: list[int] = []
    run = partial(
        serve,
        parts.endpoints.database_url,
        ServiceAddress(),
        lease_seconds=LEASE_SECONDS,
        stop=stop,
        ready=ports.append,
    )
    threads = [threading.Thread(target=projector.run, args=(stop,), daemon=True)]
    threads += [threading.Thread(target=run, daemon=True) for _ in range(services)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 20
    while len(ports) < services:
        assert time.monotonic() < end, "the services did not start"
        time.sleep(0.01)
    try:
        world = RealWorld(desk, [f"http://127.0.0.1:{port}" for port in ports])
        desk.work()
        world.wait_until_open()
        yield world
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=10)
