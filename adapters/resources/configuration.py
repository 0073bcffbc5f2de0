"""Configuration: the core metadata of a site, and of a product on it (step 4)."""

from __future__ import annotations

from adapters.resources.fences import spec_of
from adapters.resources.site_name import site_url
from application.ports.resources import Order, StepExecutor
from domain.catalog import Catalog
from domain.scope.steps import ConfigurationResult, ConfigurationSpec, Step


class Configurations(StepExecutor):
    """Pure: from the spec, the customer, the catalogue and the placement. What is not known is left out."""

    serves = (("site", Step.CONFIGURATION), ("product", Step.CONFIGURATION))

    def __init__(self, catalog: Catalog, *, site_domain: str) -> None:
        self._catalog = catalog
        self._site_domain = site_domain

    def ensure(self, order: Order) -> ConfigurationResult:
        spec = spec_of(order, ConfigurationSpec)
        attributes, details = order.tenant.attributes, order.customer.details
        url = site_url(attributes.value.site_name, self._site_domain) if attributes else None
        settings: dict[str, str | None] = {"residency": spec.residency}
        if spec.product is None:
            settings |= {
                "url": url,
                "region": spec.region,
                "country": details.value.country if details else None,
            }
        else:
            settings |= {
                "name": self._catalog[spec.product].name,
                "url": f"{url}/{spec.product}" if url else None,
                "region": order.placement.region if order.placement else spec.region,
            }
        return ConfigurationResult(
            product=spec.product,
            settings={key: value for key, value in sorted(settings.items()) if value is not None},
            organization=details.value.name if details and spec.product is None else None,
        )
