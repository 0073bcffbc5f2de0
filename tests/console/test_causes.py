"""Are scopes that one thing has stopped one cause, and what needs a person the first?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from console.causes import causes

NOW = datetime(2026, 11, 29, 2, 14, tzinfo=UTC)


def row(tenant: str, **given: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "tenants": [tenant],
        "kind": "product",
        "key": "compass",
        "state": "failed",
        "reason": None,
    }
    base |= {
        "reason": None,
        "obstacle": None,
        "retry_at": None,
        "since": NOW,
        "step": 7,
        "step_reason": None,
    }
    return {**base, **given}


def test_scopes_of_one_failed_provisioner_are_one_cause_since_the_first() -> None:
    rows = [
        row(f"t-{number}", reason=f"compass answered 503 for t-{number}", since=NOW + timedelta(seconds=number))
        for number in range(214)
    ]
    [cause] = causes(rows)
    assert (cause.subject, cause.step, cause.since, len(cause.scopes)) == ("compass", "7 license", NOW, 214)
    assert cause.reason == "compass answered 503 for t-0"
    assert cause.need == "person"


def test_tenants_of_one_row_are_scopes_of_one_cause_with_those_of_others() -> None:
    rows = [
        row("t-2", tenants=["t-2", "t-4"], reason="slow"),
        row("t-3", reason="slow", since=NOW - timedelta(hours=1)),
    ]
    [cause] = causes(rows)
    assert [scope.tenant_id for scope in cause.scopes] == ["t-2", "t-3", "t-4"]
    assert cause.since == NOW - timedelta(hours=1)


def test_ids_and_schema_names_do_not_tell_causes_apart_and_status_codes_do() -> None:
    def of(reason: str) -> int:
        return len(causes([row("t-1", reason=reason.format(1)), row("t-2", reason=reason.format(2))]))

    assert of("schema t_0a9f3{}_jira_g2 is locked") == 1
    assert of("order 6f1c2c1e-0000-4000-8000-00000000000{} was lost") == 1
    assert of("answered 50{}") == 2


def test_another_step_product_or_state_is_another_cause() -> None:
    same = {"reason": "no"}
    rows = [row("t-1", **same), row("t-1", **same, step=5), row("t-1", **same, key="atlas")]
    assert len(causes([*rows, row("t-1", **same, state="on_hold")])) == 4


def test_what_needs_a_person_comes_first_and_of_those_the_largest() -> None:
    rows = [
        row("t-1", state="waiting", obstacle="unreachable:shard eu-1"),
        row("t-2", state="waiting", obstacle="unreachable:shard eu-1"),
        row("t-3", state="in_progress", step_reason="slow", retry_at=NOW),
        row("t-4", state="on_hold", reason="by hand"),
        row("t-5", reason="no"),
        row("t-6", reason="no"),
    ]
    found = causes(rows)
    needs = [(cause.need, len(cause.scopes)) for cause in found]
    assert needs == [
        ("person", 2),
        ("person", 1),
        ("tries", 1),
        ("waits", 2),
    ]
    assert found[-1].reason == "shard eu-1 does not answer"
    assert found[2].retry_at == NOW


def test_the_id_of_a_cause_stays_when_scopes_join_it() -> None:
    [one] = causes([row("t-1", reason="no disk")])
    [more] = causes([row("t-2", reason="no disk", since=NOW - timedelta(hours=1)), row("t-1", reason="no disk")])
    assert one.id == more.id
