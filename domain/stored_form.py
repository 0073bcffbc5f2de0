"""Stored form of events and values: canonical JSON, the same bytes for ever for the same content.

A field stands under its stored name, in the order of its class, also where it holds its default; but one that is
`omitted` or `added_in` a schema is left out where it does (domain/event.py says how). A spec or result begins with its
`kind`. The parts of the configuration are models of pydantic, for people write them: they stand in the log as pydantic
writes them.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct
from pydantic import BaseModel

T = TypeVar("T")


def _written(part: object) -> Raw:
    if isinstance(part, BaseModel):
        return Raw(part.model_dump_json().encode())
    raise NotImplementedError(f"{type(part).__name__} is not stored")


def _read(kind: type[T], content: object) -> T:
    if issubclass(kind, BaseModel):
        return kind.model_validate_json(msgspec.json.encode(content))
    raise NotImplementedError(f"{kind.__name__} is not stored")


ENCODER: Final = msgspec.json.Encoder(enc_hook=_written)


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Reads the stored form of `kind`: types are checked, and fields that it does not know are refused."""
    return msgspec.json.Decoder(type=kind, dec_hook=_read)


def to_json(value: Struct) -> bytes:
    """The stored bytes."""
    return ENCODER.encode(value)


def as_json(value: Struct) -> dict[str, Any]:
    """The stored form as Python has read it from JSON."""
    content: dict[str, Any] = msgspec.json.decode(to_json(value))
    return content


def fields_as_json(value: Struct) -> dict[str, Any]:
    """As `as_json`, under the names that the fields have in the code."""
    content, names = as_json(value), zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    return {name: content[stored] for stored, name in names if stored in content}
