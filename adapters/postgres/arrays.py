"""Binary arrays: the columns of a thousand rows as parameters for PostgreSQL, encoded in microseconds.

As arrays in PostgreSQL's binary form, each put together in one pass; psycopg's own way looks at every element through
several layers of Python. For `%b` parameters of `unnest` and `ANY`; one dimension, no NULL.

    execute("… FROM unnest(%b::text[], %b::bigint[]) …", (texts(names), bigints(versions)))
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Final

import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format


@dataclass(frozen=True, slots=True)
class _Array:
    content: bytes


class Texts(_Array):
    """`text[]`."""


class Bigints(_Array):
    """`bigint[]`."""


class Byteas(_Array):
    """`bytea[]`."""


class Timestamps(_Array):
    """`timestamptz[]`."""


def texts(values: Iterable[str]) -> Texts:
    """Raises UnicodeEncodeError for half a surrogate pair; NUL is refused by the server."""
    return Texts(_packed(25, [value.encode() for value in values]))


def bigints(values: Iterable[int]) -> Bigints:
    """Raises struct.error beyond 64 bits."""
    return Bigints(_packed_numbers(20, list(values)))


def byteas(values: Iterable[bytes]) -> Byteas:
    return Byteas(_packed(17, list(values)))


def timestamps(values: Iterable[datetime]) -> Timestamps:
    """Aware times."""
    return Timestamps(_packed_numbers(1184, [(value - _EPOCH) // _MICROSECOND for value in values]))


def _packed(element_oid: int, elements: Sequence[bytes]) -> bytes:
    lengths = map(_LENGTH, map(len, elements))
    return _header(element_oid, len(elements)) + b"".join(chain.from_iterable(zip(lengths, elements, strict=True)))


def _packed_numbers(element_oid: int, elements: Sequence[int]) -> bytes:
    return _header(element_oid, len(elements)) + b"".join(map(_NUMBER, repeat(8), elements))


def _header(element_oid: int, length: int) -> bytes:
    return _HEADER(1, 0, element_oid) + _DIMENSION(length, 1) if length else _HEADER(0, 0, element_oid)


_HEADER: Final = struct.Struct("!iiI").pack  # dimensions, whether there are NULLs, type of the elements
_DIMENSION: Final = struct.Struct("!ii").pack  # length, index of the first element
_LENGTH: Final = struct.Struct("!i").pack
_NUMBER: Final = struct.Struct("!iq").pack  # with its length
bigint: Final = struct.Struct("!q").pack
"""One `bigint` in PostgreSQL's binary form."""
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class _Dumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Array) -> Buffer:
        return obj.content


_OIDS: Final[dict[type[_Array], int]] = {Texts: 1009, Bigints: 1016, Byteas: 1001, Timestamps: 1185}

for _kind, _oid in _OIDS.items():
    psycopg.adapters.register_dumper(_kind, type(f"_{_kind.__name__}Dumper", (_Dumper,), {"oid": _oid}))
