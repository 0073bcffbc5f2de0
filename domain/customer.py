"""Customer: state of the party that pays, folded from its stream.

Commerce sends the whole customer each time; one register holds it. The state counts separately when the metadata and
when the administrators last changed, so that a new telephone number does not make every site of the customer due.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import ClassVar

from domain import names
from domain.commands import UpdateCustomer
from domain.errors import Contradiction, Refused, problem
from domain.event import Event, Origin, Recorded, Value, origin_of
from domain.personal import Personal
from domain.registers import Register, Write, judge
from domain.stream_name import StreamName


class CustomerAdministrator(Value):
    """A person who may administrate every site of the customer."""

    account_id: names.AccountId
    name: Personal
    email: Personal
    roles: tuple[str, ...] = ()


class CustomerUpdated(Event):
    """Commerce said what it knows of the customer. Each contact is the JSON text that commerce sent."""

    TOPIC: ClassVar[str] = "tenantry.customer-updated"
    customer_id: names.CustomerId
    name: Personal
    country: names.Country
    contacts: tuple[Personal, ...]
    administrators: tuple[CustomerAdministrator, ...]
    revision: int | None = None


class CustomerMessageStale(Event):
    """A message came that was older than what it would have written."""

    TOPIC: ClassVar[str] = "tenantry.customer-message-stale"
    customer_id: names.CustomerId
    type: str
    revision: int | None


CustomerEvent = CustomerUpdated | CustomerMessageStale


@dataclass(frozen=True, slots=True)
class Details:
    """The content of the customer register, persons in the clear (in memory only)."""

    name: str
    country: str
    contacts: tuple[str, ...]
    administrators: tuple[CustomerAdministrator, ...]


@dataclass(frozen=True, slots=True)
class Customer:
    """The customer as of `version`. The two versions say when that part last changed (0: never)."""

    id: str
    version: int = 0
    details: Register[Details] | None = None
    metadata_version: int = 0
    administrators_version: int = 0
    origin: Origin | None = None


def stream_of(customer_id: str) -> str:
    return str(StreamName("customer", customer_id))


def evolve(customer: Customer, recorded: Recorded) -> Customer:
    """The customer after the event."""
    customer = replace(customer, version=recorded.version)
    match recorded.event:
        case CustomerUpdated() as event:
            details = Details(event.name, event.country, event.contacts, event.administrators)
            if judge(customer.details, details, event.revision) is not Write.LANDS:
                return customer
            before = customer.details.value if customer.details else None
            same_metadata = before is not None and (before.name, before.country, before.contacts) == (
                details.name,
                details.country,
                details.contacts,
            )
            same_people = before is not None and before.administrators == details.administrators
            return replace(
                customer,
                details=Register(details, event.revision),
                metadata_version=customer.metadata_version if same_metadata else recorded.version,
                administrators_version=customer.administrators_version if same_people else recorded.version,
                origin=origin_of(recorded),
            )
        case _:
            return customer


def decide(customer: Customer, command: UpdateCustomer, *, revision: int | None) -> list[CustomerEvent]:
    """The events that follow from the update; Refused without a revision once revisions were seen, or Contradiction."""
    if revision is None and customer.details and customer.details.revision is not None:
        raise Refused(problem("revision-missing", subject=f"customer {command.customer_id}"))
    event = CustomerUpdated(
        customer_id=command.customer_id,
        name=command.name,
        country=command.country,
        contacts=tuple(
            json.dumps(contact, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            for contact in command.contacts
        ),
        administrators=tuple(CustomerAdministrator(**dict(person)) for person in command.administrators),
        revision=revision,
    )
    details = Details(event.name, event.country, event.contacts, event.administrators)
    match judge(customer.details, details, revision):
        case Write.LANDS:
            return [event]
        case Write.CONTRADICTS:
            raise Contradiction(
                problem(
                    "same-revision-other-content",
                    subject=f"customer {command.customer_id}",
                    revision=revision,
                    difference="other content",
                )
            )
        case _:
            return [
                CustomerMessageStale(
                    customer_id=command.customer_id, type="commerce.customer.updated", revision=revision
                )
            ]
