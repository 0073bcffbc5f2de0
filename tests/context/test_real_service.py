"""The sidecar beside the real service and a real log: a suspension closes with its event, whatever the saga does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.tenancy import Tenancy
from tests.cli.conftest import Desk, desk
from tests.context.processes import SidecarProcess, wait_until
from tests.context.real_service import JIRA, RealWorld, real_world

__all__ = ["desk"]


@pytest.fixture
def world(desk: Desk) -> Iterator[RealWorld]:
    with real_world(desk, services=2) as found:
        yield found


@pytest.fixture
def tenancy(world: RealWorld, tmp_path: Path) -> Iterator[Tenancy]:
    sidecar = SidecarProcess(tmp_path / "s", world.urls, term=10.0, digest=0.5)
    sidecar.start()
    with Tenancy.open(sidecar.directory) as found:
        wait_until(lambda: found.is_ready, seconds=30, what="a lease")
        yield found
    said = sidecar.said
    sidecar.remove()
    assert "differs" not in said, said


def is_open(tenancy: Tenancy, world: RealWorld, at_least: int = 0) -> bool:
    try:
        return tenancy.by_host(world.host, at_least).is_open(JIRA)
    except ContextRefused:
        return False


def test_a_suspension_closes_on_the_host_with_its_event_and_opens_with_the_last_step(
    world: RealWorld, tenancy: Tenancy
) -> None:
    for _ in range(5):
        assert is_open(tenancy, world, world.committed())
        position = world.suspend()
        wait_until(lambda: tenancy.position >= position, what="the suspension")  # noqa: B023 - called at once
        assert not tenancy.by_host(world.host, position).is_open(JIRA)
        position = world.reopen()
        assert is_open(tenancy, world, position)
    time.sleep(1.2)  # digests are compared meanwhile


def test_a_destroyed_tenant_is_closed_on_the_host(world: RealWorld, tenancy: Tenancy) -> None:
    world.desk.comes("tenant.destroyed", reason="left")
    position = world.committed()
    wait_until(lambda: tenancy.position >= position, what="the destruction")
    found = tenancy.by_host(world.host, position)
    assert (found.lifecycle, found.access) == ("destroyed", "closed")
