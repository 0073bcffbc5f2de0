"""Stored form of events and values: canonical JSON, the same bytes for ever for the same content.

A field stands under its stored name, in the order of its class, also where it holds its default; but one that is
`omitted` or `added_in` a schema is left out where it does. A spec or result begins with its `kind`. The parts of the
configuration are models of pydantic, for people write them: they stand in the log as pydantic writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct
from pydantic import BaseModel

from domain.personal import OMITTED, fields_inside

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


@cache
def _omits(model: type[Struct]) -> bool:
    return any(field.is_omitted for field in fields_inside(model))


def as_stored(value: Struct) -> Struct | dict[str, Any]:
    """What the encoder writes for the value: itself, but where fields are left out."""
    kind = type(value)
    if not _omits(kind):
        return value
    short = _short_form(kind)
    if short is None or (short.omitted is not None and short.omitted(value) != short.defaults):
        return _without_defaults(value)
    kept = short.kept(value)
    if short.deep:
        kept = tuple(_inner(each) if is_deep else each for each, is_deep in zip(kept, short.deep, strict=True))
    return short.form(*kept)


@dataclass(frozen=True, slots=True)
class _ShortForm:
    """A value without all of the fields that may be left out: what nearly every cause and event is written as."""

    omitted: Callable[[Struct], object] | None
    defaults: object
    kept: Callable[[Struct], tuple[object, ...]]
    deep: tuple[bool, ...]
    """Of each field that is kept, whether a value inside it may leave out some of its own; empty where none may."""
    form: Callable[..., Struct]


@cache
def _short_form(kind: type[Struct]) -> _ShortForm | None:
    """None for a value of one field."""
    fields = [field for field in fields_inside(kind) if len(field.path) == 1]
    omitted = [field for field in fields if field.is_omitted]
    names = {field.path[0]: field.stored[0] for field in fields if not field.is_omitted}
    config = kind.__struct_config__
    names.pop(config.tag_field or "", None)
    if len(names) < 2:
        return None
    deep = tuple(any(each.is_omitted and each.path[0] == name for each in fields_inside(kind)) for name in names)
    form = msgspec.defstruct(kind.__name__, [*names], rename=names, tag_field=config.tag_field, tag=config.tag)
    getter = attrgetter(*(field.path[0] for field in omitted)) if omitted else None
    defaults = tuple(field.default for field in omitted)
    default = defaults[0] if len(omitted) == 1 else defaults
    return _ShortForm(getter, default, attrgetter(*names), deep if any(deep) else (), form)


def _without_defaults(value: Struct) -> dict[str, Any]:
    omitted: Mapping[str, tuple[int, object]] = getattr(value, OMITTED, {})
    tag = value.__struct_config__.tag_field
    content: dict[str, Any] = {tag: value.__struct_config__.tag} if tag is not None else {}
    for name, stored in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
        inner = getattr(value, name)
        if name not in omitted or inner != omitted[name][1]:
            content[stored] = _inner(inner)
    return content


def _inner(value: object) -> object:
    if isinstance(value, Struct):
        return as_stored(value)
    if isinstance(value, tuple):
        return [_inner(each) for each in value]
    if isinstance(value, dict):
        return {key: _inner(each) for key, each in value.items()}
    return value


def to_json(value: Struct) -> bytes:
    """The stored bytes."""
    return ENCODER.encode(as_stored(value))


def as_json(value: Struct) -> dict[str, Any]:
    """The stored form as Python has read it from JSON."""
    content: dict[str, Any] = msgspec.json.decode(to_json(value))
    return content


def fields_as_json(value: Struct) -> dict[str, Any]:
    """As `as_json`, under the names that the fields have in the code."""
    content, names = as_json(value), zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    return {name: content[stored] for stored, name in names if stored in content}
