"""Does `tenantry reconcile --commerce` find what commerce has and we were never told, and the other way round?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domain.policy import Guard
from runtime.compose.intake import lifecycle_of
from tests.cli.cloud import Cloud

LATER, EARLIER = "2100-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


def a_dump(path: Path, *lines: dict[str, Any], as_of: str = LATER, end: dict[str, Any] | None = None) -> str:
    """A file with those customers and tenants between its first and its last line."""
    tenants = sum("tenant_id" in line for line in lines)
    whole = (
        {"dump": "tenantry.commerce/1", "as_of": as_of},
        *lines,
        end or {"end": True, "customers": len(lines) - tenants, "tenants": tenants},
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in whole))
    return str(path)


def a_line(tenant_id: str, **changed: Any) -> dict[str, Any]:
    """A tenant as `Cloud.tenant` made it."""
    return {
        "tenant_id": tenant_id,
        "customer_id": "c-1",
        "site_name": tenant_id,
        "residency": "pinned",
        "region": "eu",
        "revision": 1,
        "products": [a_product()],
        **changed,
    }


def a_product(**changed: Any) -> dict[str, Any]:
    license_ = {"edition": "standard", "users": 5, "status": "active", "expires_at": None}
    return {"product": "jira-software", "revision": None, "presence": "activated", "license": license_, **changed}


def found(cloud: Cloud, path: str) -> list[tuple[str, str, str]]:
    told = json.loads(cloud.says("reconcile", "--commerce", path, "--json", code=1))
    return [(each["kind"], each["what"], each["text"]) for each in told["differences"]]


def test_each_side_is_told_what_it_lacks_and_nothing_is_changed(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("application.commerce_comparison.TOGETHER", 2)
    first, second, third, fourth, fifth = sorted(cloud.tenant() for _ in range(5))
    before = cloud.parts.saga.snapshots([first, second, third, fourth, fifth])
    same = a_dump(tmp_path / "same.jsonl", *(a_line(each) for each in (first, second, third, fourth, fifth)))
    assert "0 customers and 5 tenants compared: no difference" in cloud.says("reconcile", "--commerce", same)

    suspended = a_product(access="suspended", license={"edition": "premium", "users": 5, "status": "active"})
    other = a_dump(
        tmp_path / "other.jsonl",
        {"customer_id": "c-9", "revision": 3},
        a_line("t-", site_name="lost", products=[]),
        a_line(first, revision=4, products=[a_product(), a_product(product="confluence")]),
        a_line(third, site_name="elsewhere", products=[suspended]),
        a_line(fourth, products=[]),
        a_line(fifth, destroyed=True),
        a_line("t-never", destroyed=True),
    )
    assert found(cloud, other) == [
        ("missing", "tenant t-", "we never heard of it"),
        ("older", f"tenant {first}", "revision 1 here, 4 at commerce"),
        ("missing", "confluence", "we never heard of it"),
        ("extra", f"tenant {second}", "alive here, and commerce does not have it"),
        ("differs", f"tenant {third}", f"site name {third} here, elsewhere at commerce"),
        (
            "differs",
            "jira-software",
            "open here, suspended at commerce; license edition standard here, premium at commerce",
        ),
        ("extra", "jira-software", "active here, and commerce does not have it"),
        ("differs", f"tenant {fifth}", "alive here, destroyed at commerce"),
        ("missing", "customer c-9", "we never heard of it"),
    ]
    said = cloud.says("reconcile", "--commerce", other, code=1)
    assert "9 differences" in said
    assert "have commerce send its last change again" in said
    assert "1 customers and 6 tenants compared: 3 differs, 2 extra, 3 missing, 1 older" in said

    old = a_dump(tmp_path / "old.jsonl", as_of=EARLIER)
    assert "no difference" in cloud.says("reconcile", "--commerce", old), "what came later is newer"
    ahead = a_dump(tmp_path / "ahead.jsonl", *(a_line(each, revision=0) for each in (first, second)))
    assert ("ahead", f"tenant {first}", "revision 1 here, 0 at commerce") in found(cloud, ahead)
    assert cloud.parts.saga.snapshots([first, second, third, fourth, fifth]) == before


def test_a_dump_that_cannot_be_believed_is_refused_by_its_line(cloud: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "dump.jsonl"

    def refused(*lines: dict[str, Any], end: dict[str, Any] | None = None) -> str:
        return cloud.refuses("reconcile", "--json", "--commerce", a_dump(path, *lines, end=end))

    def said(text: str) -> str:
        path.write_text(text)
        return cloud.refuses("reconcile", "--json", "--commerce", str(path))

    begins = '{"dump": "tenantry.commerce/1", "as_of": "2026-01-01T00:00:00Z"}\n'
    assert "dump.jsonl, line 3: t-1 comes after t-2: write each once" in refused(a_line("t-2"), a_line("t-1"))
    assert "line 3: t-1 comes after t-1" in refused(a_line("t-1"), a_line("t-1"))
    assert "line 2: products.0.license.users: " in refused(
        a_line("t-1", products=[a_product(license={"edition": "x"})])
    )
    assert "line 2: unheard: extra inputs are not permitted" in refused(a_line("t-1", unheard=1))
    assert "a product stands twice" in refused(a_line("t-1", products=[a_product(), a_product()]))
    assert "line 3: says 7 customers and 1 tenants, and there are 0 and 1: the dump is not whole" in refused(
        a_line("t-1"), end={"end": True, "customers": 7, "tenants": 1}
    )
    assert "ends after line 1 without its last line" in said(begins)
    assert "ends after line 0" in said("")
    assert "line 1: a dump begins with one line" in said('{"end": true, "customers": 0, "tenants": 0}\n')
    assert "line 2: not JSON" in said(begins + '{"tenant_id": NaN}\n')
    assert "line 2: not JSON (a key stands twice)" in said(begins + '{"tenant_id": "a", "tenant_id": "b"}\n')
    assert "line 2: has neither dump" in said(begins + "{}\n")
    assert "line 2: longer than 1 MiB" in said(begins + " " * (1 << 20) + "{}\n")
    assert "leave --tenant out" in cloud.refuses("reconcile", "--tenant", "t", "--commerce", str(path))
    assert "No such file" in cloud.refuses("reconcile", "--commerce", "nowhere.jsonl")


def test_what_the_destroy_guard_holds_was_heard_and_is_decided_about(cloud: Cloud, tmp_path: Path) -> None:
    *passed, held, doomed = sorted(cloud.tenant() for _ in range(7))
    for each in (*passed, held):
        leaves = {"tenant_id": each, "product": "jira-software", "reason": "left"}
        cloud.hears("product.deactivated", leaves, revision=2)
    cloud.hears("tenant.destroyed", {"tenant_id": doomed, "reason": "left"}, revision=2)
    gone = a_product(presence="deactivated", revision=2)
    lines = [*(a_line(each, products=[gone]) for each in (*passed, held)), a_line(doomed, destroyed=True)]
    path = a_dump(tmp_path / "dump.jsonl", *lines)
    told = json.loads(cloud.says("reconcile", "--commerce", path, "--json", code=1))["differences"]
    assert [(each["what"], each["text"]) for each in told] == [
        (
            "jira-software",
            "activated here, deactivated at commerce; a deactivation awaits approval",
        ),
        (f"tenant {doomed}", "awaiting approval here, destroyed at commerce"),
    ]
    assert {each["remedy"] for each in told} == {"approve or reject it: `tenantry runs approve`"}


def test_a_closing_that_awaits_approval_was_heard_and_any_other_difference_is_not(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed_by_nobody = cloud.parts.policy.model_copy(update={"closing_guard": Guard(at_least=0, share=0)})
    monkeypatch.setattr(lifecycle_of(cloud.parts), "policy", closed_by_nobody)
    suspended, other = sorted(cloud.tenant() for _ in range(2))
    for each in (suspended, other):
        about = {"tenant_id": each, "product": "jira-software", "reason": "a fault"}
        cloud.hears("product.suspended", about, revision=2)
    there = a_product(access="suspended", revision=2)
    lines = [
        a_line(suspended, products=[there]),
        a_line(other, products=[there | {"license": {**there["license"], "users": 6}}]),
    ]
    path = a_dump(tmp_path / "dump.jsonl", *lines)
    told = json.loads(cloud.says("reconcile", "--commerce", path, "--json", code=1))["differences"]
    assert [each["text"] for each in told] == [
        "open here, suspended at commerce; a suspension awaits approval",
        ("open here, suspended at commerce; license users 5 here, 6 at commerce; a suspension awaits approval"),
    ]
    first, second = (each["remedy"] for each in told)
    assert first == "approve or reject it: `tenantry runs approve`"
    assert second != first
