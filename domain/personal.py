"""Personal fields: which fields are about a person.

A field annotated `Personal` is an ordinary string in memory. On its way into the log, the backlog or the quarantine it
is encrypted (see `EncryptionKeys` in ports.py), each under the data key of the customer it belongs to and bound to its
stream, version and path, so that it cannot be moved. To forget a person is to forget a key; a field whose key is gone
reads as `FORGOTTEN`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

from msgspec import Struct
from pydantic import BaseModel


class _Personal:
    """The mark itself."""


PERSONAL: Final = _Personal()
Personal = Annotated[str, PERSONAL]
FORGOTTEN: Final = "(forgotten)"

Path = tuple[str, ...]
"""Field names from the model's root; `*` stands for each element of a sequence, or each value of a mapping."""


class FieldInside(NamedTuple):
    """A field of a model, or of a model inside it.

    `path` has the names of the attributes, `stored` those in the log. `schema` is the version that it came with.
    """

    path: Path
    stored: Path
    annotation: object
    schema: int = 1
    default: object = None

    def inside(self, outer: FieldInside, path: Path) -> FieldInside:
        """The same field, as it is found at that path of a field of another model."""
        return self._replace(path=(*outer.path, *path, *self.path), stored=(*outer.stored, *path, *self.stored))


OMITTED: Final = "__omitted__"
"""Where a Struct lists its fields that are not always written: name -> schema version that it came with, default."""

Model = type[Struct] | type[BaseModel]


@cache
def personal_paths(model: Model) -> tuple[Path, ...]:
    """The paths of all personal fields of `model` by their stored names, also those inside models and sequences."""
    return _personal(model, lambda field: field.stored)


def says_of_persons(value: Struct) -> bool:
    """Whether a personal field of the value, or of one inside it, holds anything."""
    paths = _personal_attributes(type(value))
    return bool(paths) and any(_holds(value, path) for path in paths)


@cache
def _personal_attributes(model: Model) -> tuple[Path, ...]:
    """As `personal_paths`, by the names of the attributes."""
    return _personal(model, lambda field: field.path)


def _personal(model: Model, named: Callable[[FieldInside], Path]) -> tuple[Path, ...]:
    marked = (
        (field, inside)
        for field in fields_inside(model)
        for inside, mark in _inside(field.annotation)
        if mark is PERSONAL
    )
    return tuple({(*named(field), *inside): None for field, inside in marked})


def _holds(node: Any, path: Path) -> bool:
    if node is None or not path:
        return node is not None
    if path[0] == "*":
        each = node.values() if isinstance(node, Mapping) else node
        return any(_holds(inner, path[1:]) for inner in each)
    return _holds(getattr(node, path[0], None), path[1:])


@cache
def fields_inside(model: Model) -> tuple[FieldInside, ...]:
    """Every field of the model and of the models inside it, with its path."""
    return tuple(_fields_inside(model))


def _fields_inside(model: Model) -> Iterator[FieldInside]:
    for field in _fields_of_struct(model) if issubclass(model, Struct) else _fields_of_model(model):
        yield field
        for path, found in _inside(field.annotation):
            if isinstance(found, type):
                yield from (each.inside(field, path) for each in fields_inside(found))


def _fields_of_struct(model: type[Struct]) -> Iterator[FieldInside]:
    annotations = get_type_hints(model, include_extras=True)
    omitted: Mapping[str, tuple[int, object]] = getattr(model, OMITTED, {})
    if model.__struct_config__.tag_field is not None:
        yield FieldInside((model.__struct_config__.tag_field,), (model.__struct_config__.tag_field,), str)
    for name, stored in zip(model.__struct_fields__, model.__struct_encode_fields__, strict=True):
        schema, default = omitted.get(name, (1, None))
        yield FieldInside((name,), (stored,), annotations[name], schema, default)


def _fields_of_model(model: type[BaseModel]) -> Iterator[FieldInside]:
    annotations = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        yield FieldInside((name,), (field.serialization_alias or name,), annotations[name])


def _inside(annotation: object) -> Iterator[tuple[Path, Model | _Personal]]:
    """The models, and the marks of persons, that an annotation holds."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        yield from (((), mark) for mark in marks if isinstance(mark, _Personal))
        yield from _inside(inner)
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _inside(member)
    elif origin in (tuple, list):
        yield from ((("*", *path), found) for path, found in _inside(get_args(annotation)[0]))
    elif origin in (dict, Mapping):
        yield from ((("*", *path), found) for path, found in _inside(get_args(annotation)[1]))
    elif isinstance(annotation, type) and issubclass(annotation, (Struct, BaseModel)):
        yield (), annotation


def replace_personal(
    data: Mapping[str, Any], paths: tuple[Path, ...], change: Callable[[str, str], Any]
) -> dict[str, Any]:
    """A copy of the JSON-like `data` in which every value at `paths` is `change(value, path)`.

    Paths given to `change` are concrete (`administrators/0/email`), so that each value is bound to its own place.
    Paths that are not there, and values that are None, are left alone.
    """
    copy = dict(data)
    for path in paths:
        _replace(copy, path, change, at="")
    return copy


def _replace(node: Any, path: Path, change: Callable[[str, str], Any], *, at: str) -> None:
    head, rest = path[0], path[1:]
    if head == "*":
        keys: list[Any] = list(range(len(node))) if isinstance(node, list) else list(node or ())
    else:
        keys = [head] if isinstance(node, dict) and node.get(head) is not None else []
    for key in keys:
        place = f"{at}/{key}" if at else str(key)
        if not rest:
            node[key] = change(node[key], place)
        else:
            child = node[key]
            node[key] = (
                dict(child) if isinstance(child, dict) else list(child) if isinstance(child, (list, tuple)) else child
            )
            _replace(node[key], rest, change, at=place)
