"""Is the order of arrival irrelevant?"""

from __future__ import annotations

import json
import random
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from application.inbound import Readable
from domain.registers import Register, Write, judge, written
from domain.scope.desired import licensed_access
from domain.tenant.state import Tenant
from tests.domain.given import CATALOG, Clock, Intake, message

VECTORS = Path(__file__).parent.parent / "vectors" / "registers.jsonl"
CASES = [json.loads(line) for line in VECTORS.read_text().splitlines()]
PERMUTATIONS = 20


def messages_of(case: dict[str, Any]) -> list[Readable]:
    return [
        message(event["type"], event["revision"], id=str(number), **event["data"])
        for number, event in enumerate(case["events"])
    ]


def shuffled(messages: list[Readable], seed: str) -> list[Readable]:
    """A permutation with some of the messages in it twice or three times."""
    dice = random.Random(seed)  # noqa: S311  # the same each time
    several = messages + dice.choices(messages, k=dice.randint(0, len(messages)))
    dice.shuffle(several)
    return several


def said(register: Register[Any] | None, *fields: str) -> dict[str, Any] | None:
    if register is None:
        return None
    values = {name: getattr(register.value, name) for name in fields}
    return {"value": values if len(values) > 1 else next(iter(values.values())), "revision": register.revision}


def as_stated(tenant: Tenant, now: datetime) -> dict[str, Any]:
    """The tenant in the form of the vectors."""
    stated: dict[str, Any] = {
        "tenant": {
            "attributes": said(tenant.attributes, "customer_id", "site_name", "residency"),
            "destroyed": tenant.destroyed is not None,
        },
        "products": {},
    }
    for key, registers in tenant.products.items():
        stated["products"][key] = {
            "presence": said(registers.presence, "state"),
            "access": said(registers.access, "state"),
            "license": said(registers.license, "edition", "users", "status", "expires_at"),
            "desired": licensed_access(tenant, key, catalog=CATALOG, now=now),
        }
    return stated


def with_times(desired_state: dict[str, Any]) -> dict[str, Any]:
    for product in desired_state["products"].values():
        license_ = product["license"] and product["license"]["value"]
        if license_ and license_["expires_at"]:
            license_["expires_at"] = datetime.fromisoformat(license_["expires_at"])
    return desired_state


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_every_permutation_with_duplicates_ends_in_the_stated_registers(case: dict[str, Any]) -> None:
    messages, stated = messages_of(case), with_times(json.loads(json.dumps(case["desired_state"])))
    now = datetime.fromisoformat(case["now"])
    for number in range(PERMUTATIONS):
        intake = Intake(clock=Clock(now))
        arrived = shuffled(messages, f"{case['name']} {number}")
        counts = intake.takes(*arrived)
        tenant_id = case["events"][0]["data"]["tenant_id"]
        assert as_stated(intake.tenant(tenant_id), now) == stated, f"permutation {number}"
        assert counts.get("duplicate", 0) == len(arrived) - len(messages)
        assert not intake.rules()
        assert not intake.log.waiting([tenant_id])


@pytest.mark.parametrize("case", CASES[::4], ids=[case["name"] for case in CASES[::4]])
def test_how_the_messages_fall_into_batches_does_not_matter(case: dict[str, Any]) -> None:
    messages, stated = messages_of(case), with_times(json.loads(json.dumps(case["desired_state"])))
    now = datetime.fromisoformat(case["now"])
    for number in range(PERMUTATIONS):
        intake = Intake(clock=Clock(now))
        dice = random.Random(number)  # noqa: S311
        left = shuffled(messages, f"{case['name']} {number}")
        while left:
            size = dice.randint(1, len(left))
            intake.takes(*left[:size])
            left = left[size:]
        assert as_stated(intake.tenant(case["events"][0]["data"]["tenant_id"]), now) == stated
        assert not intake.rules()


@pytest.mark.parametrize(
    ("before", "revision", "value", "verdict"),
    [
        (None, 3, "a", Write.LANDS),
        (None, None, "a", Write.LANDS),
        (Register("a", 3), 4, "a", Write.LANDS),
        (Register("a", 3), 3, "a", Write.REPEATS),
        (Register("a", 3), 3, "b", Write.CONTRADICTS),
        (Register("a", 3), 2, "b", Write.STALE),
        (Register("a", None), 0, "b", Write.LANDS),
        (Register("a", 3), None, "b", Write.LANDS),
    ],
)
def test_a_write_is_judged_by_its_revision(
    before: Register[str] | None, revision: int | None, value: str, verdict: Write
) -> None:
    assert judge(before, value, revision) is verdict
    after = written(before, value, revision)
    assert after == (Register(value, revision) if verdict is Write.LANDS else before)
