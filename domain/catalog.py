"""Catalogue of products: which products there are, and how they depend on each other.

Products are data (catalog.toml): a product belongs to a family, whose products share one database; an app has a host
product, is never more open than it, and lives in its host's database unless it names a family of its own. A step of a
product may be brought about by a foreign provisioner behind a webhook or a Kafka topic.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from domain import names
from domain.configuration_part import ConfigurationPart, reading
from domain.errors import UsageError, problem
from domain.scope.steps import SCOPE_STEPS, Step


def _webhook(address: str) -> str:
    """An address that may lie open in the catalogue, and to which the way is encrypted."""
    url = urlsplit(address)
    if not url.hostname or url.port == 0 or "@" in url.netloc or url.query or url.fragment:
        raise ValueError("write the webhook as https://host/path, without user, password, query or fragment")
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url.hostname)):
        raise ValueError("a webhook is reached by https, by http on this machine only: write https://")
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ForeignExecutor(ConfigurationPart):
    """A foreign provisioner behind a webhook. `secret` names the secret that signs orders, kept in the settings."""

    webhook: Annotated[str, Field(pattern=r"^[!-~]+$", max_length=1024), AfterValidator(_webhook)]
    secret: names.SecretName


class CommandedExecutor(ConfigurationPart):
    """A foreign provisioner, asked by commands on the topic `kafka`."""

    kafka: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


def _way(executor: object) -> str:
    """By which way an entry of the catalogue is reached."""
    by_kafka = isinstance(executor, CommandedExecutor) or (isinstance(executor, Mapping) and "kafka" in executor)
    return "by kafka" if by_kafka else "by webhook"


AnyExecutor = Annotated[
    Annotated[ForeignExecutor, Tag("by webhook")] | Annotated[CommandedExecutor, Tag("by kafka")], Discriminator(_way)
]


class Product(ConfigurationPart):
    """One entry of the catalogue. `editions`: edition -> features; `executors`: step -> who else brings it about."""

    name: str = Field(min_length=1, max_length=128)
    family: names.FamilyKey | None = None
    host: names.ProductKey | None = None
    groups: tuple[names.ProductKey, ...] = ()
    editions: Mapping[names.Edition, tuple[str, ...]] = Field(min_length=1)
    executors: Mapping[Step, AnyExecutor] = Field(default_factory=dict)

    @field_validator("executors")
    @classmethod
    def _are_steps_of_a_product(cls, executors: Mapping[Step, AnyExecutor]) -> Mapping[Step, AnyExecutor]:
        for step in executors:
            if step not in SCOPE_STEPS["product"]:
                allowed = ", ".join(str(int(step)) for step in SCOPE_STEPS["product"])
                raise ValueError(f"step {int(step)} is not a product's own: name executors for {allowed} only")
        return executors

    @property
    def is_app(self) -> bool:
        return self.host is not None


class Catalog(ConfigurationPart):
    """All products, by key.

    `retired`: products, or editions of a product, that were in a catalogue before this one. No file names them: they
    are kept when a catalogue is adopted (configuration.py).
    """

    products: Mapping[names.ProductKey, Product] = Field(min_length=1)
    retired: Mapping[names.ProductKey, Product] = Field(default_factory=dict, exclude_if=lambda retired: not retired)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for key, product in self.known.items():
            if product.host is None and product.family is None:
                raise ValueError(f"product {key}: name its family, or the host product that makes it an app")
            if product.host is not None:
                host = (self.products if key in self.products else self.known).get(product.host)
                if host is None:
                    raise ValueError(f"app {key}: its host {product.host} is not in the catalogue")
                if host.is_app:
                    raise ValueError(f"app {key}: its host {product.host} is an app itself; name a product")
        return self

    def __contains__(self, key: object) -> bool:
        """Whether the product is known: offered or retired."""
        return key in self.products or key in self.retired

    def __getitem__(self, key: str) -> Product:
        return self.products[key] if key in self.products else self.retired[key]

    @property
    def known(self) -> Mapping[str, Product]:
        """The products that are offered, and those that were."""
        return {**self.retired, **self.products}

    @property
    def offered(self) -> Catalog:
        """The catalogue as its file says it: without what is retired."""
        return Catalog(products=self.products) if self.retired else self

    def unknown_among(self, keys: Iterable[str]) -> tuple[str, ...]:
        """The products that this catalogue does not know: a process that has only this one must not decide on them."""
        return tuple(sorted(key for key in keys if key not in self))

    def family_of(self, key: str) -> str:
        """The family in whose database the product lives; an app's is its host's, unless it has its own."""
        return self._families[key]

    @cached_property
    def _families(self) -> dict[str, str]:
        known = self.known
        of_hosts = {key: known[product.host or key].family for key, product in known.items()}
        return {key: product.family or of_hosts[key] or "" for key, product in known.items()}

    def apps_of(self, key: str) -> tuple[str, ...]:
        """The apps whose host is `key`."""
        return tuple(app for app, product in self.known.items() if product.host == key)

    @property
    def is_foreign(self) -> bool:
        """Whether anybody else brings a step about."""
        return any(product.executors for product in self.known.values())

    def command_topics(self) -> tuple[str, ...]:
        """The topics on which provisioners of others take commands."""
        foreign = [each for product in self.known.values() for each in product.executors.values()]
        return tuple(sorted({each.kafka for each in foreign if isinstance(each, CommandedExecutor)}))

    def features(self, key: str, edition: str) -> tuple[str, ...]:
        """Those of an edition that is known; none of another."""
        return self.editions(key).get(edition, ())

    def editions(self, key: str) -> Mapping[str, tuple[str, ...]]:
        """The editions of a product that are known, with their features: also those that are not offered any more."""
        before = self.retired[key].editions if key in self.retired else {}
        return {**before, **self[key].editions}

    @classmethod
    def parse(cls, text: str, *, source: str) -> Self:
        """The catalogue in TOML `text`; UsageError names `source` and the first thing that is wrong."""
        with reading("catalogue", source):
            written = tomllib.loads(text)
            if "retired" in written:
                raise UsageError(problem("retired-in-file", source=source))
            return cls.model_validate(written)


@cache
def default_catalog() -> Catalog:
    """The catalogue in the package."""
    return Catalog.parse(files("domain").joinpath("catalog.toml").read_text(), source="catalog.toml of the package")
