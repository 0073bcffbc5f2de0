"""Rates asked of the database itself: for our own surfaces, which need no limits service beside them."""

from __future__ import annotations

from application.rates import Rate
from application.rates import RateCoordinator as Rates
from domain.errors import TenantryError
from tenantry_client.access.rates import Admitted, CoordinatorUnavailable, Limit


class RatesOfDatabase:
    """The coordinator of the client, answered by that of the engine."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def admit(self, limit: Limit, requests: int) -> Admitted:
        try:
            return Admitted(*self._rates.admit(Rate(*limit), requests))
        except TenantryError as error:
            raise CoordinatorUnavailable(str(error)) from None
