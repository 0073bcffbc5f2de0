"""Does everything come right when workers are killed at any time, many scopes in their hands?

The matrix kills one worker at one point of one scope. Here workers work on many scopes at once, with threads, while
commerce goes on talking, and each is killed after a time that the seed draws.
"""

from __future__ import annotations

import random
import time

import pytest

from tests.crashes.cloud import JIRA, REGIONS, Cloud

pytestmark = [pytest.mark.saga, pytest.mark.slow]

TENANTS = 8
KILLS = 12


@pytest.mark.parametrize("seed", range(3))
def test_workers_killed_at_any_time_leave_nothing_behind(cloud: Cloud, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - chance that can be repeated
    for number in range(TENANTS):
        cloud.creates(f"t-{number}", JIRA, "confluence", region=REGIONS[number % 2])
    killed = 0
    for _ in range(KILLS):
        process = cloud.begins(claim=8, threads=4)
        time.sleep(dice.uniform(0.1, 0.5))
        process.kill()
        process.join()
        killed += process.exitcode != 0
        tenant, key = f"t-{dice.randrange(TENANTS)}", dice.choice([JIRA, "confluence"])
        match dice.choice(["suspend", "suspend", "unsuspend", "license", "destroy"]):
            case "suspend":
                cloud.says("product.suspended", tenant, product=key, reason="unpaid")
            case "unsuspend":
                cloud.says("product.unsuspended", tenant, product=key)
            case "license":
                cloud.says("license.updated", tenant, product=key, edition="free", users=9, status="active")
            case _:
                cloud.says("tenant.destroyed", tenant, reason="over")
    cloud.settles()
    print(f"seed {seed}: {killed} of {KILLS} workers killed")  # noqa: T201 - shown by `pytest -rP`
    assert killed
    assert not cloud.disagreements()
