"""Tree verification: the Merkle tree over the stored events is compared with the signed checkpoints.

The tree grows block by block, over the events as long as they agree with the tiles. Where they differ, the level above
decides which of the two is used. The tree continues over the hashes that were sealed, so that one changed event does
not put the later events in doubt. audit/verification.py explains the purpose.

    tile fits the events? ──yes──▶ grow ──▶ upper tiles fit? ──▶ checkpoints of that size fit?
             └──no──▶ do the events fit the level above? ──yes──▶ the tile was changed, grow over the events
                                 └──no──▶ name the events, grow over the tile
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, Literal

from adapters.postgres.seal_store import BEFORE_ALL, LeafTile, SealStore, unpacked
from application.progress import Progress
from audit.checkpoints import Checkpoint
from audit.merkle import HASH_BYTES, root_of
from audit.seal import hashed
from audit.tiles import TILE, TILE_BYTES, GrowingTree

Kind = Literal["changed", "deleted", "inserted", "cut off", "rewritten", "seal", "checkpoint"]


class TreeVerification:
    """The tree over the log, grown tile by tile; it reports each place that does not fit."""

    def __init__(
        self,
        store: SealStore,
        trusted: Sequence[Checkpoint],
        found: Callable[[Kind, int, int, str], None],
        *,
        outside: Checkpoint | None = None,
    ) -> None:
        """`trusted`: the checkpoints that count, smallest first, `outside` among them."""
        self._store = store
        self._found = found
        self._ahead = list(trusted)
        self._outside = outside
        self._good: Checkpoint | None = None
        self.torn = False  # no tree can be grown on
        self._ended = False  # there are no more events, even if more were expected
        self._rewritten = False
        self._tree = GrowingTree()
        self._expected = max((checkpoint.size for checkpoint in trusted), default=0)
        stored = store.count_leaf_tiles()
        self.tiles = max(stored, -(-self._expected // TILE))
        last = store.leaf_tiles(stored - 1, stored).get(stored - 1)
        ends = [checkpoint.position for checkpoint in trusted]
        if last is not None and (stored - 1) * TILE + last.width > self._expected:  # a checkpoint is gone
            ends.append(last.last_position)
        self.sealed_to = max(ends, default=BEFORE_ALL)
        self.events = 0
        self._last_position = 0

    @property
    def size(self) -> int:
        """The number of events in the tree now."""
        return self._tree.size

    @property
    def good_to(self) -> int:
        """The position up to which the last checkpoint that fits reaches."""
        return self._good.position if self._good else 0

    def run(self) -> Iterator[Progress]:
        after = BEFORE_ALL
        for first in range(0, self.tiles, TILE):
            if self._ended:
                break
            end = min(first + TILE, self.tiles)
            stored = self._store.leaf_tiles(first, end)
            last = stored.get(end - 1)
            upto = self.sealed_to if end == self.tiles or last is None else last.last_position
            limit = (end - first) * TILE if last is None and end < self.tiles else None
            hashes, positions = hashed(self._store, after, upto, limit)
            tiles = [stored.get(number) for number in range(first, end)]
            whole = len(hashes) == len(tiles) * TILE_BYTES or end == self.tiles
            if whole and _fit(tiles, hashes, positions):
                self._grow(hashes)
                self.events += len(hashes) // HASH_BYTES
                after = upto
            else:
                if end < self.tiles and len(hashes) < len(tiles) * TILE_BYTES:  # the tile's end may be wrong
                    hashes, positions = hashed(self._store, after, self.sealed_to, len(tiles) * TILE)
                after = self._tile_by_tile(first, tiles, hashes, unpacked(positions), after)
            self._last_position = max(self._last_position, *unpacked(positions[-8:]), 0)
            yield Progress(max(0, min(upto, self.sealed_to)), max(0, self.sealed_to), self.events)
        self._end()

    # -- where a block does not fit -----------------------------------------------------------------------------------

    def _tile_by_tile(
        self, first: int, tiles: Sequence[LeafTile | None], hashes: bytes, positions: Sequence[int], after: int
    ) -> int:
        """Compare each tile of a block with its share of the rows; the position up to which rows were used."""
        at = 0
        for number, stored in enumerate(tiles, first):
            final = number == self.tiles - 1
            tile = None if not final and _lost_its_end(stored, positions) else stored
            if tile is None or self._above_bears_out(number, hashes[at * HASH_BYTES :][:TILE_BYTES]):
                width = min(TILE, max(0, self._expected - number * TILE)) if final and tile is None else TILE
                stop = min(len(positions), at + width)
                upto = positions[stop - 1] if stop > at else after
            else:
                stop = len(positions) if final else bisect_right(positions, tile.last_position)
                upto = tile.last_position
            ours, where = hashes[at * HASH_BYTES : stop * HASH_BYTES], positions[at:stop]
            basis = self._judge(number, tile, ours, where, after)
            at, after = max(at, stop), max(after, upto)
            if not final and len(basis) != TILE_BYTES and not self.torn:
                self.torn = at < len(positions) or any(tiles[number - first + 1 :])
                if not self.torn:  # nothing comes after it, neither events nor hashes
                    self._ended = True
                    self._grow(basis)
                    break
                self._found("seal", max(0, after) + 1, self.sealed_to, "the hashes of the seal are gone from here on")
            self._grow(basis)
        self.events += at
        return after

    def _judge(self, number: int, tile: LeafTile | None, ours: bytes, where: Sequence[int], after: int) -> bytes:
        """The hashes over which the tree continues here."""
        if tile is not None and tile.hashes == ours and unpacked(tile.positions) == tuple(where):
            return ours
        if tile is None:
            if where:
                self._found(
                    "seal", where[0], where[-1], "the hashes of these events are gone from the seal, or garbled"
                )
            return ours
        if self._borne_out(number, ours):
            first, last = (where[0], where[-1]) if where else (after + 1, after + 1)
            self._found("seal", first, last, "the hashes in the seal were changed; these events were not")
            return ours
        for position, kind in _differences(tile, ours, where):
            self._found(kind, position, position, _EXPLAINED[kind])
        return tile.hashes

    def _borne_out(self, number: int, hashes: bytes) -> bool:
        """Whether the level above says that these are the tile's hashes; of the last tile, a checkpoint."""
        if self._above_bears_out(number, hashes):
            return True
        size = number * TILE + len(hashes) // HASH_BYTES
        return self._tree.size == number * TILE and any(
            (checkpoint.size, checkpoint.root) == (size, self._tree.root(hashes)) for checkpoint in self._ahead
        )

    def _above_bears_out(self, number: int, hashes: bytes) -> bool:
        if len(hashes) != TILE_BYTES:
            return False
        above = self._store.tile(1, number // TILE)[number % TILE * HASH_BYTES :][:HASH_BYTES]
        return above == root_of(hashes)

    # -- the tree -----------------------------------------------------------------------------------------------------

    def _grow(self, hashes: bytes) -> None:
        """Add leaves; on the way the tiles above and the checkpoints are compared."""
        while hashes and not self.torn:
            count = len(hashes) // HASH_BYTES
            if self._ahead:
                count = min(count, max(1, self._ahead[0].size - self._tree.size))
            for level, number, made in [*self._tree.add(hashes[: count * HASH_BYTES])]:
                if level and (stored := self._store.tile(level, number)) != made:
                    self._above_differs(level, number, made, stored)
            hashes = hashes[count * HASH_BYTES :]
            self._compare()

    def _compare(self) -> None:
        while self._ahead and self._ahead[0].size <= self._tree.size:
            checkpoint = self._ahead.pop(0)
            if checkpoint.root == self._tree.root():
                self._good = checkpoint
            elif not self._rewritten:
                self._rewritten = True
                if checkpoint is self._outside:  # what fits here may have been sealed anew: it bounds nothing
                    first, what = 0, "the checkpoint from outside is of another log, or this one was sealed anew since"
                else:
                    first, what = self.good_to + 1 if self._good else 0, "the log and its seal were rewritten"
                what += f": the checkpoint of {checkpoint.size} events does not fit"
                self._found("rewritten", first, checkpoint.position, what)

    def _above_differs(self, level: int, number: int, made: bytes, stored: bytes) -> None:
        """Which events lie below the first hash that differs, and which below the last."""
        at = range(0, len(made), HASH_BYTES)
        differing = [each // HASH_BYTES for each in at if made[each:][:HASH_BYTES] != stored[each:][:HASH_BYTES]]
        span = TILE ** (level - 1)
        lowest = (number * TILE + (differing[0] if differing else 0)) * span
        highest = (number * TILE + (differing[-1] if differing else 0) + 1) * span - 1
        tiles = self._store.leaf_tiles(lowest, lowest + 1) | self._store.leaf_tiles(highest, highest + 1)
        first = unpacked(tiles[lowest].positions[:8])[0] if lowest in tiles else 0
        last = tiles[highest].last_position if highest in tiles else self.sealed_to
        what = f"the hashes of the seal do not lead to those of its level {level}: one or the other was changed"
        self._found("seal", first, last, what)

    def _end(self) -> None:
        if self.torn:
            return
        self._compare()
        for level, number, made in self._tree.edge():
            if level and (stored := self._store.tile(level, number)) != made:
                self._above_differs(level, number, made, stored)
        if self._ahead:
            checkpoint = self._ahead[-1]
            gone = checkpoint.size - self._tree.size
            what = (
                f"the log was cut off: {gone} of the {checkpoint.size} events of a checkpoint are gone, with their seal"
            )
            self._found("cut off", self._last_position + 1, checkpoint.position, what)


_EXPLAINED: Final[dict[Kind, str]] = {
    "changed": "changed after it was sealed",
    "deleted": "deleted after it was sealed",
    "inserted": "inserted after its neighbours were sealed",
}


def _fit(tiles: Sequence[LeafTile | None], hashes: bytes, positions: bytes) -> bool:
    there = [tile for tile in tiles if tile is not None]
    return (
        len(there) == len(tiles)
        and all(len(tile.hashes) == TILE_BYTES for tile in there[:-1])
        and all(one.number + 1 == next_.number for one, next_ in pairwise(there))
        and b"".join([tile.hashes for tile in there]) == hashes
        and b"".join([tile.positions for tile in there]) == positions
    )


def _lost_its_end(tile: LeafTile | None, positions: Sequence[int]) -> bool:
    """Whether a tile is short although there are events behind it."""
    return tile is not None and len(tile.hashes) < TILE_BYTES and bool(positions) and positions[-1] > tile.last_position


def _differences(tile: LeafTile, hashes: bytes, where: Sequence[int]) -> Iterator[tuple[int, Kind]]:
    """Position and kind of what differs, in the order of positions."""
    sealed = {
        position: tile.hashes[at * HASH_BYTES :][:HASH_BYTES] for at, position in enumerate(unpacked(tile.positions))
    }
    stored: dict[int, list[bytes]] = {}
    for at, position in enumerate(where):
        stored.setdefault(position, []).append(hashes[at * HASH_BYTES :][:HASH_BYTES])
    for position in sorted(sealed.keys() | stored.keys()):
        if position not in sealed:
            yield position, "inserted"
        elif position not in stored:
            yield position, "deleted"
        elif stored[position] != [sealed[position]]:
            yield position, "changed"
