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
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class _Personal:
    """The mark itself."""


PERSONAL: Final = _Personal()
Personal = Annotated[str, PERSONAL]
FORGOTTEN: Final = "(forgotten)"

Path = tuple[str, ...]
"""Field names from the model's root; `*` stands for each element of a sequence, or each value of a mapping."""


@cache
def personal_paths(model: type[BaseModel]) -> tuple[Path, ...]:
    """The paths of all personal fields of `model` by their stored names, also those inside models and sequences."""
    found: dict[Path, None] = {}
    for named, field in fields_inside(model):
        path = stored_path(model, named)
        if any(isinstance(mark, _Personal) for mark in field.metadata):
            found[path] = None
        found.update(((*path, *inside), None) for inside, mark in _inside(field.annotation) if mark is PERSONAL)
    return tuple(found)


def stored_path(model: type[BaseModel], path: Path) -> Path:
    """The path of a field of `model` by the name that it is stored under."""
    return (model.model_fields[path[0]].serialization_alias or path[0], *path[1:])


def fields_inside(model: type[BaseModel]) -> Iterator[tuple[Path, FieldInfo]]:
    """Every field of the model and of the models inside it, with its path."""
    for name, field in model.model_fields.items():
        yield (name,), field
        for path, found in _inside(field.annotation):
            if isinstance(found, type):
                yield from (((name, *path, *inside), deeper) for inside, deeper in fields_inside(found))


def _inside(annotation: object) -> Iterator[tuple[Path, type[BaseModel] | _Personal]]:
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
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
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
