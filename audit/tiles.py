"""Tiles of a Merkle tree: a tree of many millions of leaves grows, and gives its proofs, in little memory.

A tile is 256 hashes of one level side by side. Each whole tile has one hash in a tile of the level above, which stands
for 8 levels of the tree. An append needs the last tile of each level (`GrowingTree`); a proof reads a few tiles
(`subtrees`).

    level 1   ┌ root of tile 0 │ root of tile 1 │ ...  ┐        one tile for 65,536 leaves
    level 0   ┌ leaf 0 ... 255 ┐ ┌ leaf 256 ... 511 ┐ ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from audit.merkle import HASH_BYTES, Subtrees, root_of

TILE: Final = 256
TILE_BYTES: Final = TILE * HASH_BYTES

Tiles = Callable[[int, int], bytes]
"""The hashes of the tile of that level and number."""


class GrowingTree:
    """The right edge of a tree of `size` leaves."""

    def __init__(self, size: int = 0, edge: Mapping[int, bytes] | None = None) -> None:
        """`edge` holds the last tile of each level, as far as it is not whole. Raises ValueError if that cannot be."""
        self.size = size
        self._levels: list[bytes] = []
        level = 0
        while (at_level := size >> 8 * level) or level == 0:
            hashes = (edge or {}).get(level, b"")
            if len(hashes) != at_level % TILE * HASH_BYTES:
                raise ValueError(f"level {level} of a tree of {size} leaves ends in a tile of {len(hashes)} bytes")
            self._levels.append(hashes)
            level += 1

    def add(self, hashes: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Append leaves by their hashes; level, number and hashes of each tile that became whole. Exhaust it."""
        before, self.size = self.size, self.size + len(hashes) // HASH_BYTES
        number, waiting = before // TILE, self._levels[0] + hashes
        whole = len(waiting) // TILE_BYTES * TILE_BYTES
        self._levels[0] = waiting[whole:]
        for at in range(0, whole, TILE_BYTES):
            yield from self._close(0, number + at // TILE_BYTES, waiting[at : at + TILE_BYTES])

    def _close(self, level: int, number: int, hashes: bytes) -> Iterator[tuple[int, int, bytes]]:
        yield level, number, hashes
        above = level + 1
        if above == len(self._levels):
            self._levels.append(b"")
        self._levels[above] += root_of(hashes)
        if len(self._levels[above]) == TILE_BYTES:
            closed, self._levels[above] = self._levels[above], b""
            yield from self._close(above, number // TILE, closed)

    def edge(self) -> Iterator[tuple[int, int, bytes]]:
        """Level, number and hashes of the last tiles that are not whole."""
        for level, hashes in enumerate(self._levels):
            if hashes:
                yield level, self.size >> 8 * (level + 1), hashes

    def root(self, more: bytes = b"") -> bytes:
        """The root, as if `more` (hashes that do not go beyond the last tile) had been added."""
        below = root_of(self._levels[0] + more) if self._levels[0] or more else b""
        for hashes in self._levels[1:]:
            if hashes or below:
                below = root_of(hashes + below)
        return below or root_of(b"")


def subtrees(tiles: Tiles) -> Subtrees:
    """The root over any range that the split of a tree makes, from its tiles; each is asked for once."""
    known: dict[tuple[int, int], bytes] = {}

    def tile(level: int, number: int) -> bytes:
        if (level, number) not in known:
            known[level, number] = tiles(level, number)
        return known[level, number]

    def root(first: int, end: int) -> bytes:
        """Level by level, what is left over at the right goes along as one more hash."""
        rest = b""
        for level in range(8):
            start, stop = first >> 8 * level, end >> 8 * level
            if stop - start <= TILE - start % TILE:
                within = tile(level, start // TILE) if stop > start else b""
                return root_of(within[start % TILE * HASH_BYTES :][: (stop - start) * HASH_BYTES] + rest)
            if over := stop % TILE:
                rest = root_of(tile(level, stop // TILE)[: over * HASH_BYTES] + rest)
        raise ValueError(f"no tree has the leaves {first} to {end}")

    return root
