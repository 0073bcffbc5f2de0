"""Provisioners of other teams: which steps the catalogue gives to them.

Per product and step; a step that is not named there is served by our own executor. Region and database stay ours: the
license, the credentials and the fences of a product are built on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.kafka.ports import Producer
from adapters.provisioners.commands import Commanded
from adapters.provisioners.orders import Draft
from adapters.provisioners.signed_requests import SignedRequests, SigningSecret
from adapters.provisioners.webhooks import Webhook
from application.ports.resources import FOREIGN, BoundedExecutor, Executor, Order
from domain.catalog import Catalog, CommandedExecutor, ForeignExecutor
from domain.configuration import secret_obstacle
from domain.errors import Obstacle, UsageError
from domain.scope.steps import Step, StepResult


@dataclass(frozen=True, slots=True)
class Routed:
    """Sends each order to the executor of its product, or else to ours."""

    ours: BoundedExecutor
    foreign: Mapping[str, Executor]

    def ensure(self, order: Order) -> StepResult:
        return self._executor(order).ensure(order)

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        if order.scope.key in self.foreign:
            return f"{FOREIGN}:{order.scope.key}/{int(order.step)}", FOREIGN
        return self.ours.bulkheads(order)

    def remove(self, order: Order) -> None:
        self._executor(order).remove(order)

    def _executor(self, order: Order) -> Executor:
        return self.foreign.get(order.scope.key, self.ours)


@dataclass(frozen=True, slots=True)
class Unserved:
    """Executor for a provisioner that this process cannot reach: the order waits for a process that can.

    A catalogue may be adopted while workers run that do not have the secret yet.
    """

    why: str

    def ensure(self, order: Order) -> StepResult:
        raise Obstacle(secret_obstacle(order.scope.key), self.why)

    def remove(self, order: Order) -> None:
        raise Obstacle(secret_obstacle(order.scope.key), self.why)


def check_secrets(catalog: Catalog, secrets: Mapping[str, SigningSecret]) -> None:
    """Raises UsageError where the secret of a webhook that the catalogue offers is missing."""
    for key, product in catalog.products.items():
        for step, foreign in product.executors.items():
            if isinstance(foreign, ForeignExecutor) and foreign.secret not in secrets:
                raise UsageError(_unsigned(key, step, foreign))


def _unsigned(key: str, step: Step, foreign: ForeignExecutor) -> str:
    return (
        f"product {key}, step {int(step)}: its webhook is signed with the secret {foreign.secret}, which is"
        f" not set: set TENANTRY_WEBHOOK_SECRETS__{foreign.secret.upper()}"
    )


def webhooks(
    step: Step, draft: Draft, *, catalog: Catalog, secrets: Mapping[str, SigningSecret], requests: SignedRequests
) -> Mapping[str, Executor]:
    """The executors of that step that the catalogue names, by product; what is retired is served as well."""
    found: dict[str, Executor] = {}
    for key, product in catalog.known.items():
        foreign = product.executors.get(step)
        if isinstance(foreign, ForeignExecutor):
            if foreign.secret not in secrets:
                found[key] = Unserved(_unsigned(key, step, foreign))
                continue
            found[key] = Webhook(
                requests=requests,
                family=catalog.family_of(key),
                address=foreign.webhook,
                secret=secrets[foreign.secret],
                draft=draft,
            )
    return found


def commanded(
    step: Step, draft: Draft, *, catalog: Catalog, producer: Callable[[], Producer]
) -> Mapping[str, Executor]:
    """The executors of that step that the catalogue reaches by Kafka, by product."""
    named = {key: product.executors.get(step) for key, product in catalog.known.items()}
    return {
        key: Commanded(
            producer=producer,
            topic=foreign.kafka,
            family=catalog.family_of(key),
            draft=draft,
        )
        for key, foreign in named.items()
        if isinstance(foreign, CommandedExecutor)
    }
