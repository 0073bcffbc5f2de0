"""Do products hang together?"""

from __future__ import annotations

import pytest

from application.problem_texts import sentence
from domain.catalog import Catalog, ForeignExecutor, default_catalog
from domain.errors import UsageError
from domain.scope.steps import Step
from tests.refusals import refused

EDITIONS = '.editions]\nfree = ["a"]\n'
APP_OF_AN_APP = (
    f'[products.p]\nname="P"\nfamily="f"\n[products.p{EDITIONS}'
    f'[products.a]\nname="A"\nhost="p"\n[products.a{EDITIONS}'
    f'[products.b]\nname="B"\nhost="a"\n[products.b{EDITIONS}'
)


def catalog(text: str) -> Catalog:
    return Catalog.parse(text, source="my.toml")


def test_the_default_catalogue_has_the_six_products_and_apps_of_two_hosts() -> None:
    products = default_catalog().products
    assert {key for key, product in products.items() if not product.is_app} == {
        "jira-software",
        "jira-service-management",
        "jira-product-discovery",
        "confluence",
        "compass",
        "atlas",
    }
    assert {product.host for product in products.values() if product.is_app} == {"jira-software", "confluence"}


def test_the_jira_products_are_one_family() -> None:
    found = default_catalog()
    assert {found.family_of(key) for key in found.products if key.startswith("jira")} == {"jira"}


def test_an_app_lives_with_its_host_unless_it_names_a_family_of_its_own() -> None:
    text = f'[products.p]\nname="P"\nfamily="f"\n[products.p{EDITIONS}'
    text += f'[products.in]\nname="I"\nhost="p"\n[products.in{EDITIONS}'
    text += f'[products.out]\nname="O"\nhost="p"\nfamily="own"\n[products.out{EDITIONS}'
    found = catalog(text)
    assert (found.family_of("in"), found.family_of("out")) == ("f", "own")
    assert found.apps_of("p") == ("in", "out")


def test_features_are_those_of_the_edition() -> None:
    assert default_catalog().features("confluence", "standard") == ("pages", "permissions")
    assert default_catalog().features("confluence", "no-such") == ()


PRODUCT = f'[products.p]\nname="P"\nfamily="f"\n[products.p{EDITIONS}'


def executor(step: str, webhook: str, secret: str = "p") -> str:
    return f"{PRODUCT}[products.p.executors.{step}]\nwebhook = '{webhook}'\nsecret = '{secret}'\n"


@pytest.mark.parametrize(
    "webhook",
    [
        "https://p.example/tenantry",
        "https://p.example:8443",
        "http://127.0.0.1:8099",
        "http://[::1]/",
        "http://localhost/x",
    ],
)
@pytest.mark.parametrize("step", [Step.SITE, Step.CONFIGURATION, Step.IDENTITY, Step.LICENSE])
def test_a_step_of_a_product_may_be_given_to_a_webhook(step: Step, webhook: str) -> None:
    product = catalog(executor(str(int(step)), webhook))["p"]
    assert product.executors == {step: ForeignExecutor(webhook=webhook, secret="p")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (executor("6", "https://p.example"), "step 6 is not a product's own: name executors for 2, 4, 5, 7"),
        (executor("8", "https://p.example"), "executors.8"),
        (executor("7", "http://p.example"), "write https://"),
        (executor("7", "http://localhost.example"), "write https://"),
        (executor("7", "ftp://p.example"), "write https://"),
        (executor("7", "p.example/tenantry"), "write the webhook as https://host/path"),
        (executor("7", "https://user:password@p.example"), "without user, password"),
        (executor("7", "https://p.example/?token=t"), "without user, password"),
        (executor("7", "https://p.example/#x"), "without user, password"),
        (executor("7", "https://p.example:99999/"), "Port out of range"),
        (executor("7", "https://[::1/"), "Invalid IPv6"),
        (executor("7", "https://p .example/"), "webhook"),
        (executor("7", "https://p.example", secret="Not-A-Name"), "secret"),
        (f"{PRODUCT}[products.p.executors.7]\nwebhook = 'https://p.example'\n", "secret"),
    ],
)
def test_a_foreign_executor_that_is_wrong_is_named_with_its_product_and_the_remedy(text: str, said: str) -> None:
    with refused(UsageError, match=r"catalogue my\.toml: products\.p\.executors") as error:
        catalog(text)
    assert said in sentence(error.value)
    assert "password@" not in sentence(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("products = ", "not TOML"),
        ("", "products"),
        (f'[products.p]\nname="P"\n[products.p{EDITIONS}', "name its family, or the host"),
        (f'[products.p]\nname="P"\nhost="q"\n[products.p{EDITIONS}', "host q is not in the catalogue"),
        ('[products.p]\nname="P"\nfamily="f"\n', "editions"),
        (f'[products.p]\nname="P"\nfamily="f"\ncolour="red"\n[products.p{EDITIONS}', "colour"),
        (APP_OF_AN_APP, "is an app itself"),
    ],
)
def test_a_catalogue_that_is_wrong_says_where(text: str, said: str) -> None:
    with refused(UsageError, match=r"catalogue my\.toml: ") as error:
        catalog(text)
    assert said in sentence(error.value)
