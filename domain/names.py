"""Identifiers and texts that Tenantry accepts.

Every type here is a plain `str` to the type checker and is validated exactly once: where pydantic reads it from the
wire, or where a command asks whether it `fits`. The bounds keep names usable as Kafka keys, stream names and parts of
SQL identifiers.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, Final

from pydantic import StringConstraints, TypeAdapter, ValidationError

_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_LABEL: Final = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
_KEY: Final = r"^[a-z][a-z0-9-]*$"

TenantId = Annotated[str, StringConstraints(pattern=_ID, max_length=64)]
"""Opaque, compared exactly, never used twice; most producers send a UUID."""


def is_tenant_id(text: str | None) -> bool:
    """Whether the text may be a tenant's id, as far as its form tells."""
    return text is not None and len(text) <= 64 and re.fullmatch(_ID, text) is not None


CustomerId = Annotated[str, StringConstraints(pattern=_ID, max_length=64)]
"""Opaque, compared exactly."""

AccountId = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""A person's account in the identity platform; a pseudonym, so it may stand in the log in the clear."""

SiteName = Annotated[str, StringConstraints(pattern=_LABEL, max_length=63)]
"""A DNS label in lower case: the site answers at `<site-name>.<domain>`."""

ProductKey = Annotated[str, StringConstraints(pattern=_KEY, max_length=63)]
FamilyKey = Annotated[str, StringConstraints(pattern=_KEY, max_length=63)]
Region = Annotated[str, StringConstraints(pattern=_KEY, max_length=32)]
ShardName = Annotated[str, StringConstraints(pattern=_KEY, max_length=63)]
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
"""Fits into the name of an environment variable."""
Edition = Annotated[str, StringConstraints(pattern=_KEY, max_length=32)]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""

Reason = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
PersonName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)]
Role = Annotated[str, StringConstraints(min_length=1, max_length=64)]


def fits(kind: object, value: object) -> bool:
    """Whether the value is one of that kind: of what an operator says, which comes through no message."""
    try:
        _adapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@cache
def _adapter(kind: Any) -> TypeAdapter[object]:
    return TypeAdapter(kind)
