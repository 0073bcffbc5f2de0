"""Is a tree in tiles the same tree, however it grew and whichever part of it is asked for?"""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.merkle import (
    HASH_BYTES,
    consistency_proof,
    inclusion_proof,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from audit.tiles import TILE, TILE_BYTES, GrowingTree, subtrees

MANY = 70_000  # more than one tile of level 1
LEAVES = b"".join(sha256(number.to_bytes(8, "big")).digest() for number in range(MANY))

sizes = st.one_of(st.integers(1, 1_000), st.sampled_from([255, 256, 257, 512, 65_535, 65_536, 65_537, 65_792, MANY]))


def leaves(first: int, end: int) -> bytes:
    return LEAVES[first * HASH_BYTES : end * HASH_BYTES]


class Kept:
    """Tiles as a table has them: a whole one takes the place of the one that was not."""

    def __init__(self) -> None:
        self.tree = GrowingTree()
        self.tiles: dict[tuple[int, int], bytes] = {}

    def grow(self, hashes: bytes) -> None:
        for level, number, whole in self.tree.add(hashes):
            self.tiles[level, number] = whole
        for level, number, part in self.tree.edge():
            self.tiles[level, number] = part

    def read(self, level: int, number: int) -> bytes:
        return self.tiles[level, number]


@pytest.fixture(scope="module")
def kept() -> Kept:
    made = Kept()
    made.grow(LEAVES)
    return made


@given(st.lists(st.integers(0, 700), max_size=6))
@settings(max_examples=50, deadline=None)
def test_it_is_the_same_tree_however_it_grew(steps: list[int]) -> None:
    made, at = Kept(), 0
    for step in steps:
        made.grow(leaves(at, at + step))
        at += step
        edge = {level: hashes for level, _, hashes in made.tree.edge()}
        assert GrowingTree(at, edge).root() == made.tree.root() == root_of(leaves(0, at))
    assert all(len(hashes) <= TILE_BYTES for hashes in made.tiles.values())


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, MANY])
def test_the_root_is_that_of_all_leaves_at_every_seam(size: int) -> None:
    tree = GrowingTree()
    list(tree.add(leaves(0, size)))
    assert tree.root() == root_of(leaves(0, size))
    if size < MANY:
        assert tree.root(leaves(size, size + 1)) == root_of(leaves(0, size + 1))


@given(sizes, st.data())
@settings(max_examples=60, deadline=None)
def test_proofs_from_tiles_hold(kept: Kept, size: int, data: st.DataObject) -> None:
    root = root_of(leaves(0, size))
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_proof(index, size, subtrees(kept.read))
    assert verify_inclusion(leaves(index, index + 1), index, size, path, root)
    old = data.draw(st.one_of(st.integers(1, size), sizes.filter(lambda each: each <= size)))
    growth = consistency_proof(old, size, subtrees(kept.read))
    assert verify_consistency(old, size, growth, root_of(leaves(0, old)), root)


def test_a_proof_reads_few_tiles(kept: Kept) -> None:
    asked: list[tuple[int, int]] = []

    def read(level: int, number: int) -> bytes:
        asked.append((level, number))
        return kept.read(level, number)

    inclusion_proof(12_345, MANY, subtrees(read))
    assert len(asked) == len(set(asked)) <= 5


def test_an_edge_that_does_not_fit_the_size_is_refused() -> None:
    with pytest.raises(ValueError, match="level 0 of a tree of 257 leaves"):
        GrowingTree(TILE + 1, {1: leaves(0, 1)})
