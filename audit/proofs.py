"""Inclusion proofs of all events of an export.

One tile of leaves is in memory at a time. The proofs of a tile share the path from its root up, and they begin within
the tile: both parts are made once for all of its events.
"""

from __future__ import annotations

from functools import lru_cache

from adapters.postgres.log_copy import LogCopy, Page
from adapters.postgres.seal_store import LeafTile, unpacked
from audit.checkpoints import Checkpoint
from audit.merkle import HASH_BYTES, Subtrees, above, inclusion_proof
from audit.tiles import TILE, subtrees
from domain.errors import Tampered, problem


class Proofs:
    """The place of each event in the tree of one checkpoint, and its proof, for pages in the order of the log."""

    def __init__(self, log: LogCopy, checkpoint: Checkpoint) -> None:
        self._size = checkpoint.size
        self._upto = checkpoint.position
        self._tile_of = log.tile_of
        self._tile: LeafTile | None = None
        self._leaves: dict[int, int] = {}
        self._within: list[bytes] = []
        self._upwards = b""
        tiles = lru_cache(maxsize=8)(log.tile)
        self._root: Subtrees = lru_cache(maxsize=64)(lambda first, end: subtrees(tiles)(first, end))  # noqa: PLW0108 - holds no tile

    def fill(self, page: Page) -> None:
        """Raises Tampered where the seal does not have an event that it must have."""
        for position in page.positions:
            try:
                leaf = self._leaf(position) if position <= self._upto else None
                page.proofs.append(None if leaf is None else self._path(leaf))
            except ValueError as error:
                raise Tampered(problem("proof-fails", reason=error)) from error
            page.leaves.append(leaf)

    def _leaf(self, position: int) -> int:
        if self._tile is None or position > self._tile.last_position:
            self._take(self._tile_of(position))
        if position not in self._leaves:
            raise Tampered(problem("event-not-in-seal", position=position))
        return self._leaves[position]

    def _take(self, tile: LeafTile | None) -> None:
        self._tile, self._within, self._upwards = tile, [], b""
        first = tile.number * TILE if tile else 0
        self._leaves = {each: first + at for at, each in enumerate(unpacked(tile.positions))} if tile else {}
        if tile is not None and tile.width == TILE and first + TILE <= self._size:
            self._within = [tile.hashes]
            while len(self._within[-1]) > 2 * HASH_BYTES:
                self._within.append(above(self._within[-1]))
            self._upwards = b"".join(inclusion_proof(first, self._size, self._root)[len(self._within) :])

    def _path(self, leaf: int) -> bytes:
        if not self._within:
            return b"".join(inclusion_proof(leaf, self._size, self._root))
        path, at = [], leaf % TILE
        for level in self._within:
            path.append(level[(at ^ 1) * HASH_BYTES :][:HASH_BYTES])
            at >>= 1
        return b"".join(path) + self._upwards
