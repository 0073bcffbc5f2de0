"""Registers with revisions: why the order of arrival does not matter.

Each register keeps its value and the highest revision that wrote it. A lower revision changes nothing, an equal one
must say the same. A write without a revision always lands, in the order of arrival; any revision beats none.
"""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Register(Struct, Generic[T], frozen=True):
    """A value and the revision of its last writer (None: written without one)."""

    value: T
    revision: int | None


class Write(Enum):
    """What a write would do to a register."""

    LANDS = "lands"
    REPEATS = "repeats"
    STALE = "stale"
    CONTRADICTS = "contradicts"


def judge(register: Register[T] | None, value: T, revision: int | None) -> Write:
    """What writing `value` with `revision` would do to `register` (None: never written)."""
    if register is None or revision is None or register.revision is None or revision > register.revision:
        return Write.LANDS
    if revision < register.revision:
        return Write.STALE
    return Write.REPEATS if register.value == value else Write.CONTRADICTS


def written(register: Register[T] | None, value: T, revision: int | None) -> Register[T]:
    """The register after the write; itself where the write does not land."""
    if register is None or judge(register, value, revision) is Write.LANDS:
        return Register(value, revision)
    return register
