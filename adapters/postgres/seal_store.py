"""Seal store: the bytes of the log that are sealed, and the tables that hold the seal.

A row of `stored_events` is read as PostgreSQL's binary COPY writes it: the number of columns in two bytes, then each
column with its length in four bytes before it. Nothing of a row can be moved from one column to the next without
changing these bytes, they need no decoding, and they cost a third of what a cursor costs. So they are the leaves:

    0005 │ 00000008 position │ length stream │ 00000008 version │ length topic │ length state

Columns that a later migration adds are not in them. `COLUMNS` is the format of every leaf ever sealed, for good.

All of a batch is one transaction: rows read, tiles and checkpoint written. SEAL_LOCK lets only one seal at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

import psycopg
from psycopg import IsolationLevel
from psycopg.pq import ExecStatus

from adapters.postgres.connection import LONG, Session
from domain.errors import Unavailable

SEAL_LOCK: Final = 7_305_808_868_231_650_680
COLUMNS: Final = "notification_id, originator_id, originator_version, topic, state"
NO_MARK: Final = (
    "the table high_water_mark has lost its row: INSERT INTO high_water_mark (position) VALUES (0), and the next worker"
    " publishes the mark anew"
)

BEFORE_ALL: Final = -(2**63) - 1
"""Lower than every position that a row can have."""

RANGE: Final = 100_000
"""Positions that are looked through at once for an id."""

_WIDTH: Final = 32
_MOST: Final = 256
_HEADER: Final = 19
_TRAILER: Final = 2
POSITION: Final = slice(6, 14)
"""Where a leaf has its position."""


@dataclass(frozen=True, slots=True)
class LeafTile:
    """A tile of level 0: hashes of events, and as many positions, eight bytes each."""

    number: int
    hashes: bytes
    positions: bytes

    @property
    def width(self) -> int:
        """How many hashes it has."""
        return len(self.hashes) // _WIDTH

    @property
    def last_position(self) -> int:
        return unpacked(self.positions[-8:])[0] if self.positions else BEFORE_ALL


def leaf_of(event: tuple[int, str, int, str, bytes]) -> bytes:
    """The leaf of an event (position, stream, version, topic, state), as a binary COPY would give it."""
    position, stream, version, topic, state = event
    columns = (position.to_bytes(8, "big"), stream.encode(), version.to_bytes(8, "big"), topic.encode(), state)
    return b"\x00\x05" + b"".join([len(column).to_bytes(4, "big") + column for column in columns])


def packed(positions: Sequence[int]) -> bytes:
    return struct.pack(f">{len(positions)}q", *positions)


def unpacked(positions: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(positions) // 8}q", positions)


class SealStore:
    """One connection, in transactions of the caller's. Not for several threads."""

    def __init__(self, url: str) -> None:
        self._session = Session(url, limits=LONG)
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()
        self._connection = None

    @contextmanager
    def sealing(self) -> Iterator[None]:
        """A transaction that no other seal's overlaps; all of it is committed, or nothing. Raises Unavailable."""
        with self._transaction(IsolationLevel.READ_COMMITTED):
            self._rows("SELECT pg_advisory_xact_lock(%s)", (SEAL_LOCK,))
            yield

    @contextmanager
    def looking(self) -> Iterator[None]:
        """A transaction in which everything stays as it was at its beginning. Raises Unavailable."""
        with self._transaction(IsolationLevel.REPEATABLE_READ):
            yield

    @contextmanager
    def _transaction(self, isolation: IsolationLevel) -> Iterator[None]:
        # Whatever is raised within closes the session: a COPY may have been left in its middle.
        with self._session() as connection:
            self._connection = connection
            connection.isolation_level = isolation
            with connection.transaction():
                yield

    # -- events -------------------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """The high-water mark: what is beyond it may still change."""
        rows = self._rows("SELECT position FROM high_water_mark")
        if not rows:
            raise Unavailable(NO_MARK)
        return int(rows[0][0])

    def leaves(self, after: int, upto: int, limit: int | None = None) -> Iterator[memoryview]:
        """The rows of those positions, in their order, as they are sealed. Exhaust it before anything else is asked."""
        yield from self._copied("true", after, upto, limit)

    def _copied(self, condition: str, after: int, upto: int, limit: int | None) -> Iterator[memoryview]:
        """As `leaves`, of the rows for which an SQL condition holds."""
        bounds = (
            f"notification_id >= '{after + 1:d}'::bigint AND notification_id <= '{max(upto, BEFORE_ALL + 1):d}'::bigint"
            f" AND ({condition})"
        )
        most = "" if limit is None else f" LIMIT {limit:d}"
        assert self._connection is not None
        pq = self._connection.pgconn
        started = pq.exec_(
            f"COPY (SELECT {COLUMNS} FROM stored_events WHERE {bounds} ORDER BY notification_id{most})"  # noqa: S608
            " TO STDOUT (FORMAT binary)".encode()
        )
        if started.status != ExecStatus.COPY_OUT:
            raise psycopg.OperationalError(started.get_error_message())
        read = pq.get_copy_data
        length, row = read(0)
        if length > _HEADER + _TRAILER:  # every COPY begins with a header, in the message of the first row
            yield row[_HEADER:]
            length, row = read(0)
            while length > _TRAILER:
                yield row
                length, row = read(0)
        while length > 0:
            length, _ = read(0)
        while ended := pq.get_result():
            if ended.status != ExecStatus.COMMAND_OK:
                raise psycopg.OperationalError(ended.get_error_message())

    def find(self, event_id: UUID, say: Callable[[int, int], None] = lambda *_: None) -> int | None:
        """The position of the event with that id: no index has it, so the log is looked through, the newest first.

        `say` gets how many positions of how many were looked at.
        """
        mark = self.mark()
        for upto in range(mark, 0, -RANGE):
            rows = self._rows(
                "SELECT notification_id FROM stored_events WHERE notification_id > %s AND notification_id <= %s"
                " AND position(%s::bytea IN state) > 0 AND convert_from(state, 'UTF8')::jsonb ->> 'id' = %s LIMIT 1",
                (max(0, upto - RANGE), upto, str(event_id).encode(), str(event_id)),
            )
            if rows:
                return int(rows[0][0])
            say(mark - max(0, upto - RANGE), mark)
        return None

    # -- the seal -----------------------------------------------------------------------------------------------------

    def edge(self) -> dict[int, tuple[int, bytes]]:
        """Number and hashes of the last tile of each level."""
        rows = self._rows(
            "SELECT of.level, last.number, last.hashes FROM generate_series(0, 7) AS of (level), LATERAL"
            " (SELECT number, hashes FROM seal_tiles t WHERE t.level = of.level ORDER BY number DESC LIMIT 1) AS last"
        )
        return {level: (number, bytes(hashes)) for level, number, hashes in rows}

    def tile(self, level: int, number: int) -> bytes:
        """The hashes of a tile; none where there is no such tile."""
        rows = self._rows("SELECT hashes FROM seal_tiles WHERE level = %s AND number = %s", (level, number))
        return bytes(rows[0][0]) if rows else b""

    def leaf_tiles(self, first: int, end: int) -> dict[int, LeafTile]:
        """Those of the numbers from `first` up to, and without, `end` that are there and hang together."""
        rows = self._rows(f"{_LEAF_TILES} AND number >= %s AND number < %s", (first, end))
        return {tile.number: tile for row in rows if (tile := _leaf_tile(row))}

    def tile_of(self, position: int) -> LeafTile | None:
        """The tile that holds the event of that position, if it is sealed."""
        rows = self._rows(f"{_LEAF_TILES} AND last_position >= %s ORDER BY last_position LIMIT 1", (position,))
        return _leaf_tile(rows[0]) if rows else None

    def count_leaf_tiles(self) -> int:
        return int(self._rows("SELECT count(*) FROM seal_tiles WHERE level = 0")[0][0])

    def misplaced_tiles(self, size: int) -> list[tuple[int, int]]:
        """Level and number of some tiles that a tree of `size` leaves has no place for."""
        rows = self._rows(
            "SELECT level, number FROM seal_tiles WHERE level NOT BETWEEN 0 AND 7 OR number < 0"
            " OR number >= ((%s::bigint >> (8 * level)) + 255) / 256 ORDER BY level, number LIMIT 10",
            (size,),
        )
        return [(level, number) for level, number in rows]

    def count_without_position(self) -> int:
        """Events that no reader in the order of positions sees; the table forbids them, unless it was changed."""
        return int(self._rows("SELECT count(*) FROM stored_events WHERE notification_id IS NULL")[0][0])

    def write_tiles(self, leaf_tiles: Sequence[LeafTile], others: Sequence[tuple[int, int, bytes]]) -> None:
        """Write those tiles; what was there of the same level and number goes."""
        assert self._connection is not None
        rows: list[tuple[object, ...]] = [(0, tile.number, tile.hashes, *_compact(tile)) for tile in leaf_tiles]
        rows += [(*tile, None, None) for tile in others]
        lowest: dict[int, int] = {}
        for level, number, *_ in rows:
            assert isinstance(level, int)
            assert isinstance(number, int)
            lowest[level] = min(number, lowest.get(level, number))
        with self._connection.cursor() as curs:
            for level, number in lowest.items():
                curs.execute("DELETE FROM seal_tiles WHERE level = %s AND number >= %s", (level, number))
            with curs.copy(
                "COPY seal_tiles (level, number, hashes, last_position, positions) FROM STDIN (FORMAT binary)"
            ) as copy:
                copy.set_types(["int4", "int8", "bytea", "int8", "bytea"])
                for row in rows:
                    copy.write_row(row)

    def write_note(self, note: str) -> None:
        self._rows("INSERT INTO seal_checkpoints (note) VALUES (%s) RETURNING number", (note,))

    def notes(self) -> list[str]:
        """All checkpoints, oldest first."""
        return [str(note) for (note,) in self._rows("SELECT note FROM seal_checkpoints ORDER BY number")]

    def newest_note(self) -> str | None:
        rows = self._rows("SELECT note FROM seal_checkpoints ORDER BY number DESC LIMIT 1")
        return str(rows[0][0]) if rows else None

    def _rows(self, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        assert self._connection is not None
        with self._connection.cursor(binary=True) as curs:
            return curs.execute(statement.encode(), parameters).fetchall()


_LEAF_TILES: Final = "SELECT number, hashes, last_position, positions FROM seal_tiles WHERE level = 0"


def _compact(tile: LeafTile) -> tuple[int, bytes | None]:
    """The last position, and the others where one cannot count down to them."""
    first, last = unpacked(tile.positions[:8])[0], tile.last_position
    return last, None if last - first + 1 == len(tile.positions) // 8 else tile.positions


def _leaf_tile(row: tuple[Any, ...]) -> LeafTile | None:
    """The tile; none where what is stored is no tile."""
    number, hashes, last, positions = row
    width, torn = divmod(len(hashes), _WIDTH)
    if torn or not 0 < width <= _MOST or last is None or last - width < BEFORE_ALL:
        return None
    if positions is None:
        positions = packed(range(last - width + 1, last + 1))
    tile = LeafTile(number, bytes(hashes), bytes(positions))
    return tile if len(positions) == 8 * width and tile.last_position == last else None
