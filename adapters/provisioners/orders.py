"""Orders to provisioners of other teams: the request, and the parts of the answer that count.

The same over HTTP (webhooks.py) and over Kafka (commands.py, replies.py): an order goes out whole, with the result that
we shall record once it is done. The answer may add to it what only the provisioner knows (`MAY_SAY`), and a reason that
names no person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from application.ports.resources import Order
from domain.scope.steps import ConfigurationResult, LicenseResult, Step, StepResult
from domain.stored_form import as_json
from domain.stream_name import ObstacleName

Draft = Callable[[Order], StepResult]
"""The result of the step, as far as we know it ourselves. Pure."""

_LONGEST_REASON: Final = 200
_LONGEST_LOOKED_THROUGH: Final = 2000


# -- what an answer may say ----------------------------------------------------------------------------------------


Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=1024)]
"""One line; no NUL, which PostgreSQL would not store."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoAddition(_Answer):
    """An answer that adds nothing to the spec."""


class AddedSettings(_Answer):
    """To be stored beside our settings, which stay. They lie in the log in the clear: nothing about persons."""

    settings: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=64)], Text] = Field(
        default_factory=dict, max_length=64
    )


class AddedLocation(_Answer):
    """Where the product finds its entitlement."""

    location: Annotated[Text, StringConstraints(min_length=1)] | None = None


MAY_SAY: Final[Mapping[Step, type[NoAddition | AddedSettings | AddedLocation]]] = {
    Step.SITE: NoAddition,
    Step.CONFIGURATION: AddedSettings,
    Step.IDENTITY: NoAddition,
    Step.LICENSE: AddedLocation,
}


class Misfit(ValueError):
    """The answer says what it may not say; the text says where."""


def completed(order: Order, draft: StepResult, answer: bytes) -> StepResult:
    """Our result with the additions of the answer, a JSON object. Raises Misfit."""
    try:
        added = MAY_SAY[order.step].model_validate_json(answer)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise Misfit(f"{place}: {first['msg']}") from None
    match draft, added:
        case ConfigurationResult(), AddedSettings(settings=settings):
            return replace(draft, settings={**settings, **draft.settings})
        case LicenseResult(), AddedLocation(location=str(location)):
            return replace(draft, location=location)
        case _:
            return draft


# -- what goes out -------------------------------------------------------------------------------------------------


def body_of(order: Order, *, family: str, result: StepResult | None) -> bytes:
    """The request. `result` is None in a removal, whose spec is the one that is undone."""
    scope = order.scope
    return json.dumps(
        {
            "idempotency_key": order.idempotency_key,
            "tenant_id": scope.tenant_id,
            "scope": {"kind": scope.kind, "tenant_id": scope.tenant_id, "key": scope.key},
            "product": scope.key,
            "family": family,
            "step": int(order.step),
            "direction": order.direction,
            "generation": order.generation,
            "region": order.placement.region if order.placement else None,
            "wish": as_json(order.spec),
            "facts": as_json(result) if result is not None else None,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()


def obstacle_of(order: Order) -> str:
    """What is waited for where the provisioner is still at work, or has not replied."""
    return str(ObstacleName("provisioner", f"{order.scope.key}/{int(order.step)}"))


# -- messages ------------------------------------------------------------------------------------------------------


def about(order: Order, where: str, text: str) -> str:
    """One short line that names the provisioner, and no person: it goes into the log in the clear."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    if len(line) > _LONGEST_LOOKED_THROUGH:
        line = line[:_LONGEST_LOOKED_THROUGH].rpartition(" ")[0]  # half a name would not be found
    line = re.sub(r"\S+@\S+", "(personal)", line)
    for name in _persons(order):
        line = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "(personal)", line, flags=re.IGNORECASE)
    return f"the provisioner of {order.scope.key}, step {int(order.step)} ({where}) {line[:_LONGEST_REASON]}"


def _persons(order: Order) -> list[str]:
    """Names of persons, and of the customer, that a provisioner may have from us; each part of them, longest first."""
    names: set[str] = set()
    if order.tenant.attributes is not None:
        names.add(order.tenant.attributes.value.administrator.name)
    if order.customer.details is not None:
        details = order.customer.details.value
        names |= {details.name, *(person.name for person in details.administrators)}
    return sorted(
        {part for name in names for part in (name, *name.split()) if len(part) > 2}, key=lambda part: (-len(part), part)
    )
