"""Does a process that knows less than the log do no harm?

Real executors on real shards. The faults are those of the field: a process that is started in another directory and
finds no settings there, a product that is retired from the catalogue, a shard that leaves the topology.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.operator import Operator
from domain.scope.steps import DatabaseResult, Scope
from runtime.compose import Parts
from runtime.instance import endpoints
from runtime.settings_layers import load_settings
from tests.cli.cloud import Cloud

BILLING = """
[products.billing]
name = "Billing"
family = "billing"
groups = ["billing-guests"]
[products.billing.editions]
basic = ["invoices"]
premium = ["invoices", "reports"]
"""
POLICY = """
[retry]
attempts = 8
first_delay = "PT0.01S"
factor = 1.0
longest_delay = "PT0.01S"
jitter = 0.0
obstacle_poll = "PT1H"
step_timeout = "PT30S"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the operators: a catalogue with a product of their own, and a policy without waiting."""
    own = tmp_path / "home"
    own.mkdir()
    (own / "catalog.toml").write_text(_built_in("catalog") + BILLING)
    (own / "policy.toml").write_text(
        'retention = "PT0S"\nrestore_window = "PT0S"\nsite_name_cool_down = "PT0S"\nwaiting_limit = 10\n' + POLICY
    )
    monkeypatch.setenv("TENANTRY_CATALOG_FILE", str(own / "catalog.toml"))
    monkeypatch.setenv("TENANTRY_POLICY_FILE", str(own / "policy.toml"))
    return own


@pytest.fixture
def adopted(home: Path, cloud: Cloud) -> Cloud:
    """The cloud after its first start in that directory."""
    _first_start(cloud.parts)
    return cloud


@pytest.fixture
def elsewhere(adopted: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A process that was started where neither the catalogue nor the policy is found."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "tenantry.toml").write_text((tmp_path / "tenantry.toml").read_text())
    with monkeypatch.context() as there:
        there.chdir(other)
        there.delenv("TENANTRY_CATALOG_FILE")
        there.delenv("TENANTRY_POLICY_FILE")
        settings = load_settings()
        with Parts(settings, endpoints(settings)) as parts:
            made = Cloud(parts, adopted.shards)
            made._offset = 1000  # noqa: SLF001 - its messages have ids of their own
            yield made
            made.close()


def _built_in(name: str) -> str:
    return files("domain").joinpath(f"{name}.toml").read_text()


def _first_start(parts: Parts) -> None:
    parts.adopting.adopt_first(parts.at_hand, reason="the first start", by=Operator.parse("ada"))
    parts.learn()


def _with_billing(cloud: Cloud, *, region: str = "eu", **more: Any) -> str:
    tenant_id = f"t-{uuid4().hex[:12]}"
    cloud.hears(
        "tenant.created",
        {
            "tenant_id": tenant_id,
            "customer_id": "c-1",
            "site_name": tenant_id,
            "residency": "pinned",
            "region": region,
            "administrator": {"account_id": "a-1", "name": "Ada Lovelace", "email": "ada@example.com"},
            "products": [{"product": "billing", "edition": "premium", "users": 5, "revision": 1, **more}],
        },
    )
    assert _can_log_in(cloud, tenant_id)
    return tenant_id


def _database(cloud: Cloud, tenant_id: str) -> DatabaseResult:
    for fact in cloud.facts(Scope("family", tenant_id, "billing")):
        if isinstance(found := getattr(fact, "result", None), DatabaseResult):
            return found
    raise AssertionError("it has no database")


def _roles(cloud: Cloud, tenant_id: str) -> list[tuple[str, bool]]:
    database = _database(cloud, tenant_id)
    role = database.role_of("billing")
    assert role is not None
    rows = cloud.on(database.shard, "SELECT rolname, rolcanlogin FROM pg_roles")
    return [(name, login) for name, login in rows if name == role.role]


def _can_log_in(cloud: Cloud, tenant_id: str) -> bool:
    return any(login for _, login in _roles(cloud, tenant_id))


def _quarantined(cloud: Cloud) -> list[Any]:
    return cloud.control("SELECT rule, reason FROM quarantine WHERE state = 'open'")


def _suspend(cloud: Cloud, tenant_id: str) -> None:
    cloud.hears("product.suspended", {"tenant_id": tenant_id, "product": "billing", "reason": "abuse"}, revision=7)


def _adopts(cloud: Cloud, *, code: int = 0) -> str:
    told = cloud.says("config", "adopt", "--reason", "as it is now", code=code)
    cloud.parts.learn()
    return told


# -- a process that was started elsewhere --------------------------------------------------------------------------


def test_a_suspension_is_applied_by_a_process_that_was_started_without_the_catalogue(
    adopted: Cloud, elsewhere: Cloud
) -> None:
    tenant_id = _with_billing(adopted)
    _suspend(elsewhere, tenant_id)
    assert _quarantined(elsewhere) == []
    assert not _can_log_in(elsewhere, tenant_id)


def test_a_destroyed_tenants_product_is_closed_and_removed_by_a_process_that_was_started_without_the_catalogue(
    adopted: Cloud, elsewhere: Cloud
) -> None:
    tenant_id = _with_billing(adopted)
    elsewhere.hears("tenant.destroyed", {"tenant_id": tenant_id, "reason": "left"}, revision=2)
    assert _roles(elsewhere, tenant_id) == []
    place = _database(elsewhere, tenant_id).schema_name
    assert (place,) not in elsewhere.on("eu-1", "SELECT nspname FROM pg_namespace")


def test_what_is_in_use_is_said_and_that_a_file_differs_from_it(adopted: Cloud, home: Path) -> None:
    (home / "catalog.toml").write_text(_built_in("catalog"))
    said = adopted.says("config", "show")
    assert "configuration 1, adopted" in said
    assert "tenantry.toml" in said
    assert "differs from what is adopted in" in said
    told = json.loads(adopted.says("config", "diff", "--json", code=1))
    assert {each["where"] for each in told} >= {"catalog.products.billing.family"}
    assert adopted.says("config", "diff", code=1).count("billing") > 3
    assert "billing" in adopted.parts.catalog.products


def test_an_adoption_is_an_act_of_a_person_for_a_reason(adopted: Cloud, home: Path) -> None:
    (home / "catalog.toml").write_text(_built_in("catalog"))
    adopted.says("config", "adopt", "--reason", "billing is sold no more", "--as", "Ada")
    adopted.parts.log.advance_mark()
    told = adopted.says("acts", "--what", "configuration")
    assert "configuration adopted: all tenants: billing is sold no more" in told
    assert "Ada (" in told
    assert "is adopted already" in adopted.says("config", "adopt", "--reason", "once more")


# -- a product that is retired -------------------------------------------------------------------------------------


@pytest.fixture
def retired(adopted: Cloud, home: Path) -> tuple[Cloud, str]:
    """A cloud whose catalogue has lost a product on which a tenant lives."""
    tenant_id = _with_billing(adopted)
    (home / "catalog.toml").write_text(_built_in("catalog"))
    assert "configuration 2 is adopted" in _adopts(adopted)
    return adopted, tenant_id


def test_a_retired_product_goes_on_living(retired: tuple[Cloud, str]) -> None:
    cloud, tenant_id = retired
    assert _can_log_in(cloud, tenant_id)
    cloud.finds_nothing()


def test_a_retired_product_is_suspended_and_opened_again(retired: tuple[Cloud, str]) -> None:
    cloud, tenant_id = retired
    _suspend(cloud, tenant_id)
    assert _quarantined(cloud) == []
    assert not _can_log_in(cloud, tenant_id)
    cloud.hears("product.unsuspended", {"tenant_id": tenant_id, "product": "billing"}, revision=8)
    assert _can_log_in(cloud, tenant_id)


def test_after_destroy_and_purge_of_a_retired_product_its_role_and_its_data_are_gone(
    retired: tuple[Cloud, str],
) -> None:
    cloud, tenant_id = retired
    cloud.hears("tenant.destroyed", {"tenant_id": tenant_id, "reason": "left"}, revision=2)
    assert _roles(cloud, tenant_id) == []
    cloud.finds_nothing()


def test_a_retired_product_is_deactivated_and_purged(retired: tuple[Cloud, str]) -> None:
    cloud, tenant_id = retired
    cloud.hears("product.deactivated", {"tenant_id": tenant_id, "product": "billing", "reason": "left"}, revision=7)
    assert _quarantined(cloud) == []
    assert _roles(cloud, tenant_id) == []


def test_a_license_of_a_retired_product_is_closed_whatever_its_edition(retired: tuple[Cloud, str]) -> None:
    cloud, tenant_id = retired
    license_ = {"tenant_id": tenant_id, "product": "billing", "edition": "never-offered", "users": 1}
    cloud.hears("license.updated", {**license_, "status": "inactive"}, revision=7)
    assert _quarantined(cloud) == []
    assert not _can_log_in(cloud, tenant_id)


def test_an_activation_of_a_retired_product_is_quarantined(retired: tuple[Cloud, str]) -> None:
    cloud, tenant_id = retired
    data = {"tenant_id": tenant_id, "product": "billing", "edition": "basic", "users": 5}
    cloud.hears("product.activated", data, revision=9)
    [(rule, reason)] = _quarantined(cloud)
    assert rule == "unknown-product"
    assert "adopt one that has it" in reason


def test_a_product_that_came_back_is_offered_again(retired: tuple[Cloud, str], home: Path) -> None:
    cloud, _ = retired
    (home / "catalog.toml").write_text(_built_in("catalog") + BILLING)
    _adopts(cloud)
    assert "billing" in cloud.parts.catalog.products
    assert "billing" not in cloud.parts.catalog.retired


def test_a_product_that_lives_cannot_move_to_another_family(adopted: Cloud, home: Path) -> None:
    _with_billing(adopted)
    (home / "catalog.toml").write_text(_built_in("catalog") + BILLING.replace('family = "billing"', 'family = "jira"'))
    assert "tenants live on it" in adopted.refuses("config", "adopt", "--reason", "why not")


def test_a_store_that_is_older_than_adoptions_closes_what_its_first_catalogue_lacks(home: Path, cloud: Cloud) -> None:
    """Its catalogue was lost before the first adoption: what its streams say of the product is enough."""
    tenant_id = _with_billing(cloud)
    (home / "catalog.toml").write_text(_built_in("catalog"))
    settings = load_settings()
    with Parts(settings, endpoints(settings)) as parts:
        _first_start(parts)
        lost = parts.catalog.retired["billing"]
        assert (lost.family, lost.groups, lost.editions) == (
            "billing",
            ("billing-guests",),
            {"premium": ("invoices", "reports")},
        )
        later = Cloud(parts, cloud.shards)
        later._offset = 1000  # noqa: SLF001
        later.finds_nothing()
        _suspend(later, tenant_id)
        assert not _can_log_in(later, tenant_id)
        later.hears("tenant.destroyed", {"tenant_id": tenant_id, "reason": "left"}, revision=2)
        assert _roles(later, tenant_id) == []
        later.close()


# -- a worker that runs --------------------------------------------------------------------------------------------


def test_a_running_worker_uses_what_is_adopted_without_a_restart(adopted: Cloud, home: Path, tmp_path: Path) -> None:
    """A new product, and the shard that it lives on: neither was there when the worker started."""
    ledger = BILLING.replace("billing", "ledger").replace("Billing", "Ledger")
    (home / "catalog.toml").write_text(_built_in("catalog") + BILLING + ledger)
    _adopts_elsewhere(adopted)
    tenant_id = _with_billing(adopted)
    data = {"tenant_id": tenant_id, "product": "ledger", "edition": "basic", "users": 5}
    adopted.hears("product.activated", data, revision=1)
    assert _quarantined(adopted) == []
    assert adopted.snapshot(tenant_id).product("ledger").level == "open"


def _adopts_elsewhere(cloud: Cloud) -> None:
    """By another process: the one at hand is not told."""
    cloud.says("config", "adopt", "--reason", "as it is now")


# -- the past ------------------------------------------------------------------------------------------------------


def test_the_past_is_told_with_the_catalogue_of_its_time(adopted: Cloud, home: Path) -> None:
    tenant_id = _with_billing(adopted)
    before = adopted.parts.log.advance_mark()
    (home / "catalog.toml").write_text(
        (_built_in("catalog") + BILLING).replace('premium = ["invoices", "reports"]', 'premium = ["invoices"]')
    )
    _adopts(adopted)
    adopted.parts.log.advance_mark()
    then = adopted.parts.configuration_at(before).catalog
    assert then.features("billing", "premium") == ("invoices", "reports")
    told = json.loads(adopted.says("show", tenant_id, "--at", str(before), "--json"))
    assert told["actual"]["products"]["billing"]["state"] == "converged"
    now = json.loads(adopted.says("show", tenant_id, "--json"))
    assert now["actual"]["products"]["billing"]["state"] == "in_progress"
    assert "was usable" in adopted.says("explain", tenant_id, "--at", str(before))


# -- scopes that nobody would look at ------------------------------------------------------------------------------


def test_a_scope_that_says_converged_and_should_be_otherwise_is_found_and_made_due(adopted: Cloud, home: Path) -> None:
    """The catalogue has other features since: nobody was told, for that could be everybody."""
    tenant_id = _with_billing(adopted)
    scope = f"product:{tenant_id}:billing"
    assert "each has converged" in adopted.says("audit", "scopes")
    (home / "catalog.toml").write_text(
        (_built_in("catalog") + BILLING).replace('premium = ["invoices", "reports"]', 'premium = ["invoices"]')
    )
    _adopts(adopted)
    assert f"{scope}  it is open, but not as it should be by now" in adopted.says("audit", "scopes", code=1)
    assert "it is due now" not in adopted.says("reconcile", "--dry-run", code=1)
    assert f"{scope}  it is open, but not as it should be by now, and it is not due; it is due now" in adopted.says(
        "reconcile", code=1
    )
    adopted.work()
    adopted.finds_nothing()
    assert "each has converged" in adopted.says("audit", "scopes")


def test_a_level_that_nobody_brings_about_is_found_and_made_due(adopted: Cloud) -> None:
    """The rows of the work queue are lost: of a suspension, and of the end of a license."""
    tenant_id = _with_billing(adopted, expires_at="2999-01-01T00:00:00Z")
    adopted.control("DELETE FROM wakes")
    assert "it changes at 2999-01-01 00:00:00 UTC, and nothing is due then" in adopted.says("audit", "scopes", code=1)
    adopted.says("reconcile", code=1)
    adopted.work()
    adopted.finds_nothing()
    adopted.hears_only("product.suspended", {"tenant_id": tenant_id, "product": "billing", "reason": "x"}, revision=7)
    adopted.control("DELETE FROM wakes")
    told = json.loads(adopted.says("audit", "scopes", "--json", code=1))
    assert {"scope": f"product:{tenant_id}:billing", "text": "it is open and should be closed, and it is not due"} in (
        told["unsettled"]
    )
    adopted.says("reconcile", code=1)
    adopted.work()
    assert not _can_log_in(adopted, tenant_id)


# -- a shard that leaves -------------------------------------------------------------------------------------------


@pytest.fixture
def shrunk(adopted: Cloud, tmp_path: Path) -> tuple[Cloud, str]:
    """A cloud that has lost a shard on which a tenant lives; its url is in nobody's settings any more."""
    tenant_id = _with_billing(adopted, region="us")
    settings = tmp_path / "tenantry.toml"
    shards = settings.read_text().split("[[shards]]")
    settings.write_text("[[shards]]".join(part for part in shards if 'name = "us-1"' not in part))
    assert "1 families are on it" in _adopts(adopted)
    adopted.parts.settings = load_settings()
    adopted.parts.use(adopted.parts.configuration)
    return adopted, tenant_id


def test_a_shard_that_has_left_with_families_on_it_is_never_silently_green(shrunk: tuple[Cloud, str]) -> None:
    cloud, _ = shrunk
    assert "us-1 was not looked at" in cloud.says("reconcile", code=1)
    assert "us-1 has left the topology, and 1 families are on it" in cloud.says("config", "check", code=1)
    assert "us-1 was not looked at" in cloud.says("orphans", code=1)
    assert "left the topology" in cloud.says("config", "show")
    assert "us-1 has left the topology, and 1 families are on it" in cloud.says("status")


def test_what_lives_on_a_shard_that_has_left_waits_with_its_name_and_goes_on_when_it_is_back(
    shrunk: tuple[Cloud, str], tmp_path: Path
) -> None:
    cloud, tenant_id = shrunk
    family = f"family:{tenant_id}:billing"
    _suspend(cloud, tenant_id)
    said = json.loads(cloud.says("runs", "show", family, "--json"))
    assert said["state"] == "waiting"
    assert "shard us-1" in said["reason"]
    settings = tmp_path / "tenantry.toml"
    settings.write_text(
        settings.read_text() + f'\n[[shards]]\nname = "us-1"\nregion = "us"\nurl = "{cloud.shards["us-1"]}"\n'
        'isolation = "database"\n'
    )
    cloud.parts.settings = load_settings()
    cloud.says("config", "adopt", "--reason", "it is back")
    cloud.work()
    assert not _can_log_in(cloud, tenant_id)


def test_no_secret_is_in_what_is_adopted(adopted: Cloud) -> None:
    [(state,)] = adopted.control("SELECT state FROM stored_events WHERE originator_id = 'configuration:adopted'")
    user = adopted.shards["eu-1"].partition("://")[2].partition("@")[0]
    assert b"postgresql://" not in bytes(state)
    assert f"{user}@".encode() not in bytes(state)
