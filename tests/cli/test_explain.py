"""Does `explain` tell of what is on its way out, and of what began anew?"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from tests.cli.conftest import TENANT, Desk

APP = "timesheets"


def explained(desk: Desk, product: str, at: int) -> str:
    return desk.says("explain", TENANT, "--product", product, "--at", str(at))


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy by which retention is over at once."""
    text = files("domain").joinpath("policy.toml").read_text()
    (tmp_path / "policy.toml").write_text(re.sub(r'(?m)^retention = "\w+"', 'retention = "PT0S"', text))
    monkeypatch.setenv("TENANTRY_POLICY_FILE", str(tmp_path / "policy.toml"))


def test_a_purge_that_has_begun_and_the_life_after_it_are_explained(short: None, desk: Desk) -> None:
    desk.comes("product.activated", product=APP, edition="standard", users=5)
    desk.work()
    desk.comes("product.deactivated", product="jira-software", reason="downgrade")
    desk.work()
    [purge] = [
        fact for fact in desk.parts.log.load({f"tenant:{TENANT}": 0})[f"tenant:{TENANT}"] if "purge" in fact.event.TOPIC
    ]
    said = explained(desk, "jira-software", purge.position)
    assert "Commerce wanted it gone: it was deactivated (downgrade)." in said
    assert "Commerce wanted it gone: its retention was over, and the purge of its data had begun." in said
    assert f"purge started (position {purge.position})" in said
    assert "its host jira-software: its retention was over" in explained(desk, APP, purge.position)

    desk.comes("product.activated", product="jira-software", edition="standard", users=5)
    desk.work()
    now = desk.parts.log.advance_mark()
    for product in ("jira-software", APP):
        said = explained(desk, product, now)
        assert f"{product} of tenant {TENANT} was usable" in said
        assert "It had begun anew: the data that it once held is lost." in said
        assert "purge" not in said
    [told] = desk.json("explain", TENANT, "--product", "jira-software", "--at", str(now))["products"]
    assert told["data_lost"] is True
    line = next(
        line for line in desk.says("timeline", TENANT, "--kind", "timer").splitlines() if "purge started" in line
    )
    assert f"apps {APP}, families jira, epoch" in line


def test_without_a_moment_it_is_told_as_it_is_now(desk: Desk) -> None:
    desk.work()
    position = desk.parts.log.advance_mark()
    said = desk.says("explain", TENANT, "--product", "jira-software")
    assert f"jira-software of tenant {TENANT} was usable at" in said
    assert f"(position {position})" in said


def test_what_closes_an_app_and_its_host_alike_is_told_once(desk: Desk) -> None:
    desk.comes("product.activated", product=APP, edition="standard", users=5)
    desk.work()
    desk.comes("tenant.destroyed", reason="a script")
    desk.work()
    said = explained(desk, APP, desk.parts.log.advance_mark())
    assert said.count("Commerce wanted it") == 1
    assert "Commerce wanted it closed: its tenant was destroyed (a script)." in said


def test_a_tenant_of_which_only_messages_wait_is_no_typing_error(desk: Desk) -> None:
    desk.comes("product.suspended", tenant_id="t-2", product="jira-software", reason="unpaid")
    desk.parts.log.advance_mark()
    for asked in (("explain", "t-2", "--at", "1"), ("show", "t-2", "--at", "1"), ("show", "t-2")):
        assert "1 messages wait for it to be created" in desk.says(*asked, code=2)
    assert "see `tenantry tenants`" in desk.says("explain", "t-3", "--at", "1", code=2)
