"""Which products are there, and how do they hang together?

Products are data (catalog.toml): a product belongs to a family, whose products share one database; an app has a host
product, is never more open than it, and lives in its host's database unless it names a family of its own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Self

from pydantic import Field, ValidationError, model_validator

from domain import names
from domain.errors import UsageError
from domain.event import Value


class Product(Value):
    """One entry of the catalogue. `editions`: edition -> features."""

    name: str = Field(min_length=1, max_length=128)
    family: names.FamilyKey | None = None
    host: names.ProductKey | None = None
    groups: tuple[names.ProductKey, ...] = ()
    editions: Mapping[names.Edition, tuple[str, ...]] = Field(min_length=1)

    @property
    def is_app(self) -> bool:
        return self.host is not None


class Catalog(Value):
    """All products, by key."""

    products: Mapping[names.ProductKey, Product] = Field(min_length=1)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for key, product in self.products.items():
            if product.host is None and product.family is None:
                raise ValueError(f"product {key}: name its family, or the host product that makes it an app")
            if product.host is not None:
                host = self.products.get(product.host)
                if host is None:
                    raise ValueError(f"app {key}: its host {product.host} is not in the catalogue")
                if host.is_app:
                    raise ValueError(f"app {key}: its host {product.host} is an app itself; name a product")
        return self

    def __contains__(self, key: object) -> bool:
        return key in self.products

    def __getitem__(self, key: str) -> Product:
        return self.products[key]

    def family_of(self, key: str) -> str:
        """The family in whose database the product lives; an app's is its host's, unless it has its own."""
        product = self.products[key]
        if product.family is not None:
            return product.family
        assert product.host is not None
        return self.family_of(product.host)

    def apps_of(self, key: str) -> tuple[str, ...]:
        """The apps whose host is `key`."""
        return tuple(app for app, product in self.products.items() if product.host == key)

    def features(self, key: str, edition: str) -> tuple[str, ...]:
        return self.products[key].editions.get(edition, ())

    @classmethod
    def parse(cls, text: str, *, source: str) -> Self:
        """The catalogue in TOML `text`; UsageError names `source` and the first thing that is wrong."""
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"catalogue {source}: not TOML: {error}") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise UsageError(f"catalogue {source}: {place}: {first['msg']}") from None


@cache
def default_catalog() -> Catalog:
    """The catalogue in the package."""
    return Catalog.parse(files("domain").joinpath("catalog.toml").read_text(), source="catalog.toml of the package")
