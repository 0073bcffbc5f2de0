"""The campaign on the real engine: `tenantry contexts`, two context services and two sidecars are killed and stopped.

The log is on PostgreSQL; its events are recorded as commerce and saga do. A tenant is changed again only when the
contexts tell its last change: two changes that one batch takes together would leave the document as it was.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from base64 import b64encode
from collections import Counter
from pathlib import Path
from typing import Final

import psycopg
import pytest

from domain.tenant.events import ProductUnsuspended
from tests.context.campaign import TENANTS, Campaign
from tests.context.engine import PRODUCT, Engine
from tests.context.processes import Process, SidecarProcess, StandInProcess, free_ports

TENANTRY: Final = str(Path(sys.executable).with_name("tenantry"))
TERM: Final = 3.0


class RealTeller(StandInProcess):
    """The log, the context projector and two services, as processes; it tells no faults: it is killed and stopped."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ports = free_ports(2)
        self.engine = Engine(url)
        settings = {
            "DATABASE_URL": url,
            "KAFKA_BOOTSTRAP": "127.0.0.1:1",
            "MASTER_KEY": b64encode(b"k" * 32).decode(),
            "CONTEXT_LEASE_SECONDS": f"{TERM:g}",
            "DATABASE_FAILOVER_SECONDS": "0.5",
            "APPEND_TIMEOUT_SECONDS": "1",
        }
        command = ["env", *(f"TENANTRY_{name}={value}" for name, value in settings.items()), TENANTRY]
        self.processes = [
            Process([*command, "contexts"], folder / "contexts.txt"),
            *(
                Process([*command, "context-service", "--port", str(port)], folder / f"service-{port}.txt")
                for port in self.ports
            ),
        ]
        self._last: dict[str, int] = {}

    def start(self) -> RealTeller:
        for each in self.processes:
            each.start()
        return self

    def end(self, number: int = signal.SIGKILL) -> None:
        for each in self.processes:
            each.end(number)
        self.engine.close()

    def do(self, do: str, **about: object) -> int:
        tenant = str(about["tenant"])
        if do == "create":
            self.engine.open(tenant)
        elif do == "suspend":
            self.engine.suspend(tenant)
        else:
            self.engine.record((f"tenant:{tenant}", ProductUnsuspended(tenant_id=tenant, product=PRODUCT)))
        with psycopg.connect(self.engine.url) as connection:
            row = connection.execute(  # of these streams: what is in force is recorded beside them
                "SELECT max(notification_id) FROM stored_events WHERE originator_id IN (%s, %s)",
                (f"tenant:{tenant}", f"product:{tenant}:{PRODUCT}"),
            ).fetchone()
        assert row is not None
        self._last[tenant] = int(row[0])
        return self._last[tenant]

    def free(self) -> list[str]:
        """The tenants whose last change the contexts tell."""
        with psycopg.connect(self.engine.url) as connection:
            row = connection.execute("SELECT position FROM context_log").fetchone()
        assert row is not None
        return [tenant for tenant in TENANTS if self._last[tenant] <= row[0]]


class RealCampaign(Campaign):
    domain = "tenantry.example"
    product = PRODUCT

    def __init__(self, folder: Path, url: str) -> None:
        self._url = url
        super().__init__(folder, term=TERM)
        for each in self.sidecars:
            services = [word for url in self.services.urls for word in ("--service", url)]
            each.command = [
                TENANTRY, "context-sidecar", *services, "--dir", str(each.directory), "--term", f"{TERM:g}"
            ]  # fmt: skip

    def teller(self, folder: Path) -> RealTeller:
        return RealTeller(folder, self._url)


@pytest.mark.context_long
@pytest.mark.timeout(1500)
def test_kills_and_stops_of_the_real_processes_break_no_promise(
    tmp_path: Path, migrated_database: str, pytestconfig: pytest.Config
) -> None:
    seconds, seed = pytestconfig.getoption("--context-seconds"), pytestconfig.getoption("--context-seed")
    campaign = RealCampaign(tmp_path, migrated_database)
    teller = campaign.services
    assert isinstance(teller, RealTeller)
    with teller.engine.marked(), campaign:
        done = _disturbed(campaign, teller, seconds=seconds, seed=seed)
    violations, judged = campaign.judge()
    print(f"{judged} look-ups judged in {seconds:g} s, seed {seed}: {dict(done)}")  # noqa: T201 - shown by -s
    assert not violations, violations[:5]
    assert judged > 100 * seconds


def _disturbed(campaign: RealCampaign, teller: RealTeller, *, seconds: float, seed: int) -> Counter[str]:
    chance, done, closed = random.Random(seed), Counter[str](), set[str]()  # noqa: S311 - what happens, is no secret
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        act = chance.choice(["change"] * 20 + ["kill", "stop"])
        one: Process | SidecarProcess = chance.choice([*teller.processes, *campaign.sidecars])
        if act == "change" and (free := teller.free()):
            tenant = chance.choice(free)
            token = campaign.change(tenant, "unsuspend" if tenant in closed else "suspend")
            closed.symmetric_difference_update({tenant})
            if chance.random() < 0.5:
                campaign.announce(token)
        elif act == "kill":
            one.end()
            one.start()
        elif act == "stop":
            one.send(signal.SIGSTOP)
            time.sleep(chance.random() * (TERM + 1))
            one.send(signal.SIGCONT)
        done[act] += 1
        time.sleep(chance.random() * 0.1)
    campaign.settle()
    return done
