"""Does an order go to whom the catalogue names, and does the example of a provisioner do what is asked of it?"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from msgspec import structs

from adapters.provisioners.foreign import Routed, check_secrets
from adapters.provisioners.signed_requests import SigningSecret
from adapters.provisioners.webhooks import Webhook
from adapters.resources.executors import Outside, executors
from adapters.resources.topology import Shard, Topology
from application.ports.resources import Order
from domain.catalog import Catalog, ForeignExecutor, default_catalog
from domain.errors import Fenced, Obstacle, Permanent, UsageError
from domain.event import Value
from domain.scope.steps import (
    ConfigurationResult,
    ConfigurationSpec,
    IdentityResult,
    IdentitySpec,
    LicenseResult,
    LicenseSpec,
    MembershipResult,
    MembershipSpec,
    Scope,
    Step,
)
from tests.adapters.provisioners.orders import Executors, license_spec, order
from tests.fakes.provisioner import SECRET, SIGNING, Provisioner, serving, webhook

EXAMPLE = Path(__file__).parents[3] / "docs" / "how-to" / "provisioner.py"


@pytest.fixture
def provisioner() -> Iterator[Provisioner]:
    with serving() as running:
        yield running


def foreign_steps(address: str, **products: set[Step]) -> Catalog:
    """The default catalogue, in which those steps are somebody else's."""
    there = dict(default_catalog().products)
    for key, steps in products.items():
        foreign = {step: ForeignExecutor(webhook=address, secret="test") for step in steps}
        there[key] = there[key].model_copy(update={"executors": foreign})
    return Catalog(products=there)


def all_executors(catalog: Catalog, *, control: str = "", **secrets: SigningSecret) -> Executors:
    topology = Topology([Shard(name="eu-1", region="eu", url="")], default_region="eu")
    there = Outside(lambda: psycopg.connect(control, autocommit=True), topology, catalog, "tenantry.example", bytes(32))
    return executors(there, webhook_secrets=secrets)


def configuration_of(product: str) -> Order:
    spec = ConfigurationSpec(product=product, residency="global", region=None)
    return order(Scope("product", "t-1", product), Step.CONFIGURATION, spec)


def membership_of(product: str) -> Order:
    return order(Scope("product", "t-1", product), Step.SITE, MembershipSpec(product=product, access="open"))


def test_only_the_named_steps_of_the_named_product_are_somebody_elses(
    provisioner: Provisioner, migrated_database: str
) -> None:
    catalog = foreign_steps(provisioner.address, compass={Step.CONFIGURATION})
    there = all_executors(catalog, control=migrated_database, test=SIGNING)
    for asked in (configuration_of("compass"), configuration_of("atlas"), membership_of("compass")):
        there["product", asked.step].ensure(asked)
        there["product", asked.step].remove(structs.replace(asked, direction="remove"))
    seen = [(each["product"], each["step"], each["direction"]) for each in provisioner.orders]
    assert seen == [("compass", 4, "ensure"), ("compass", 4, "remove")]


def test_without_foreign_executors_nothing_is_routed_away() -> None:
    there = all_executors(default_catalog())
    assert not any(executor.foreign for executor in there.values() if isinstance(executor, Routed))


def test_what_is_told_of_a_step_is_the_same_whoever_brings_it_about(
    provisioner: Provisioner, migrated_database: str
) -> None:
    ours = all_executors(default_catalog())
    catalog = foreign_steps(provisioner.address, compass={Step.SITE, Step.CONFIGURATION})
    theirs = all_executors(catalog, control=migrated_database, test=SIGNING)
    for asked in (configuration_of("compass"), membership_of("compass")):
        assert theirs["product", asked.step].ensure(asked) == ours["product", asked.step].ensure(asked)


def test_a_secret_that_is_not_set_is_said_at_the_start() -> None:
    with pytest.raises(UsageError, match=r"product compass, step 7: .* set TENANTRY_WEBHOOK_SECRETS__TEST"):
        check_secrets(foreign_steps("https://compass.example", compass={Step.LICENSE}), {})


def test_an_order_waits_where_its_secret_is_not_set_yet_and_is_never_given_to_our_own_executor(
    migrated_database: str,
) -> None:
    """The catalogue was adopted while the worker ran."""
    catalog = foreign_steps("https://compass.example", compass={Step.CONFIGURATION})
    there = all_executors(catalog, control=migrated_database)
    with pytest.raises(Obstacle, match="TENANTRY_WEBHOOK_SECRETS__TEST"):
        there["product", Step.CONFIGURATION].ensure(configuration_of("compass"))


# -- the example ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> Iterator[Webhook]:
    """The file of the how-to guide, started as the guide says."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE), str(port)], env=os.environ | {"SECRET": SECRET}, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while not _listens(port):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        found = webhook(Provisioner(port), "jira-software", Step.LICENSE)
        assert isinstance(found, Webhook)
        yield found
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def license_order(tenant_id: str, generation: int) -> Order:
    spec = license_spec("jira-software")
    return order(Scope("product", tenant_id, "jira-software"), Step.LICENSE, spec, generation=generation)


def removal(tenant_id: str, generation: int) -> Order:
    spec = license_spec("jira-software")
    scope = Scope("product", tenant_id, "jira-software")
    return order(scope, Step.LICENSE, spec, generation=generation, direction="remove")


def test_the_example_has_forty_lines() -> None:
    assert sum(bool(line.strip()) for line in EXAMPLE.read_text().splitlines()) <= 40


def test_the_example_keeps_the_promises_of_an_executor(example: Webhook) -> None:
    facts = example.ensure(license_order("t-1", 5))
    assert isinstance(facts, LicenseResult)
    assert facts.location == "licenses/t-1"
    assert example.ensure(license_order("t-1", 5)) == facts
    example.remove(removal("t-1", 6))
    example.remove(removal("t-1", 6))
    with pytest.raises(Fenced, match="generation 6 was here already"):
        example.ensure(license_order("t-1", 5))
    assert example.ensure(license_order("t-1", 7)) == facts


def test_the_example_refuses_whoever_does_not_know_the_secret(example: Webhook) -> None:
    stranger = SigningSecret.parse("whsec_" + "b" * 40, name="stranger")
    with pytest.raises(Permanent, match="the signature is wrong or old"):
        replace(example, secret=stranger).ensure(license_order("t-2", 1))


@pytest.mark.parametrize(
    ("step", "spec", "facts"),
    [
        (Step.SITE, MembershipSpec, MembershipResult),
        (Step.CONFIGURATION, ConfigurationSpec, ConfigurationResult),
        (Step.IDENTITY, IdentitySpec, IdentityResult),
        (Step.LICENSE, LicenseSpec, LicenseResult),
    ],
)
def test_the_guide_names_every_field_of_the_wish_and_of_the_facts(
    step: Step, spec: type[Value], facts: type[Value]
) -> None:
    guide = EXAMPLE.with_name("write-a-provisioner.md").read_text()
    [row] = [line for line in guide.splitlines() if line.startswith(f'| {int(step)} | `{{"kind"')]
    _, wished, told = row.strip("| ").split(" | ")
    assert {name for name in spec.__struct_fields__ if f'"{name}"' not in wished} == {"product"}
    repeated = {"product", *(spec.__struct_fields__ if "the same" in told else ())}
    assert {name for name in facts.__struct_fields__ if f'"{name}"' not in told and f"`{name}`" not in told} <= repeated
