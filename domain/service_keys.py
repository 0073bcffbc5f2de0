"""Service keys: the public keys by which services prove who calls (ASAP), each published and revoked by an operator.

    service-keys:    ServiceKeyPublished, ServiceKeyRevoked: one stream for all keys, which are few

A private key is never in the log. The name of a key is used once: a key that was revoked comes back under no
circumstances, its successor has another name. Services learn of both from the folder or repository that is written from
these events, and from the context stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, ClassVar, Final

from pydantic import StringConstraints

from domain import names
from domain.errors import UsageError, problem
from domain.event import Event, Recorded

STREAM: Final = "service-keys:"

KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+/-]{1,256}\z")]


class ServiceKeyPublished(Event):
    """A public key counts from now on. `public_key` is PEM."""

    TOPIC: ClassVar[str] = "tenantry.service-key-published"
    key_id: KeyId
    public_key: Annotated[str, StringConstraints(max_length=16 * 1024)]
    operator: str
    reason: names.Reason


class ServiceKeyRevoked(Event):
    """A public key counts no longer, for good."""

    TOPIC: ClassVar[str] = "tenantry.service-key-revoked"
    key_id: KeyId
    operator: str
    reason: names.Reason


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A key as the log has it; `revoked_at` is None while it is in force."""

    key_id: str
    public_key: str
    published_at: datetime
    published_by: str
    reason: str
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    revoked_reason: str | None = None


def keys_of(events: Iterable[Recorded]) -> Mapping[str, ServiceKey]:
    """The keys by their names, in the order in which they were published."""
    keys: dict[str, ServiceKey] = {}
    for recorded in events:
        match recorded.event:
            case ServiceKeyPublished() as event:
                keys[event.key_id] = ServiceKey(
                    event.key_id, event.public_key, recorded.time, event.operator, event.reason
                )
            case ServiceKeyRevoked() as event:
                keys[event.key_id] = replace(
                    keys[event.key_id],
                    revoked_at=recorded.time,
                    revoked_by=event.operator,
                    revoked_reason=event.reason,
                )
            case _:
                raise AssertionError(f"{recorded.event.TOPIC} is no event of a service key")
    return keys


def publish(
    keys: Mapping[str, ServiceKey], key_id: str, *, public_key: str, operator: str, reason: str
) -> ServiceKeyPublished:
    """Raises UsageError where the name was used before, or the key has another name."""
    if key_id in keys:
        raise UsageError(problem("service-key-name-used", key=key_id))
    for other in keys.values():
        if other.public_key == public_key:
            raise UsageError(problem("service-key-published", key=other.key_id))
    return ServiceKeyPublished(key_id=key_id, public_key=public_key, operator=operator, reason=reason)


def revoke(keys: Mapping[str, ServiceKey], key_id: str, *, operator: str, reason: str) -> ServiceKeyRevoked:
    """Raises UsageError where there is no such key in force."""
    key = keys.get(key_id)
    if key is None:
        raise UsageError(problem("service-key-unknown", key=key_id))
    if key.revoked_at is not None:
        raise UsageError(problem("service-key-revoked", key=key_id, by=key.revoked_by))
    return ServiceKeyRevoked(key_id=key_id, operator=operator, reason=reason)
