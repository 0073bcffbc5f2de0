"""A revoked key on real processes: refused by every service within T, and by those that are cut off as well."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.access.real_cloud import TERM, RealCloud, real_cloud
from tests.cli.conftest import Desk, desk
from tests.context.processes import wait_until

__all__ = ["desk"]

pytestmark = pytest.mark.endurance

EVERYWHERE = (("shop", "/orders"), ("context-service", "/v1/lease"))


@pytest.fixture
def cloud(desk: Desk, tmp_path: Path) -> Iterator[RealCloud]:
    with real_cloud(desk, tmp_path, services=("shop",)) as found:
        yield found


def answers(cloud: RealCloud) -> list[tuple[int, str]]:
    return [cloud.ask("billing", callee, path) for callee, path in EVERYWHERE]


def test_a_service_whose_key_is_revoked_is_refused_by_all_within_the_lease(cloud: RealCloud) -> None:
    wait_until(lambda: answers(cloud) == [(200, "")] * 2, seconds=30, what="the published key")
    committed = cloud.revoke("billing")
    wait_until(lambda: answers(cloud) == [(401, "key-unknown")] * 2, seconds=TERM, what="the refusal of all")
    assert time.monotonic() - committed < TERM
    cloud.publish("support")
    time.sleep(0.5)
    assert answers(cloud) == [(401, "key-unknown")] * 2, "for good"


def test_a_host_that_is_cut_off_accepts_no_token_when_its_lease_is_over(cloud: RealCloud) -> None:
    wait_until(lambda: answers(cloud) == [(200, "")] * 2, seconds=30, what="the published key")
    cloud.processes["sidecar"].send(signal.SIGSTOP)
    committed = cloud.revoke("billing")
    wait_until(
        lambda: cloud.ask("billing", "shop", "/orders") == (503, "key-unavailable"), seconds=TERM + 1, what="the end"
    )
    assert time.monotonic() - committed < TERM + 0.5
    cloud.processes["sidecar"].send(signal.SIGCONT)
    wait_until(lambda: cloud.ask("billing", "shop", "/orders") == (401, "key-unknown"), what="the revocation")
