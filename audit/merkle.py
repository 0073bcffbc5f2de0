"""Merkle tree of RFC 6962, and its proofs of inclusion and consistency.

RFC 6962, section 2: leaves and nodes are hashed under different first bytes, and a tree of n leaves splits at the
largest power of two below n. The proofs are those of RFC 9162, section 2.1, and so is the way they are checked.

    inclusion     this leaf is in the tree of that root               path from the leaf up, the sibling at each level
    consistency   the tree of that root only grew to be this one      the subtrees that both are made of

All functions are pure. The `proof` functions take a `Subtrees`, which gives the root of any range that the split makes.
The `verify` functions need the proof only. Every hash is 32 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32

EMPTY_ROOT: Final = sha256().digest()

Subtrees = Callable[[int, int], bytes]
"""The root over the leaves from the first number up to, and without, the second."""


def leaf_hash(leaf: bytes) -> bytes:
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: bytes) -> bytes:
    """The root over hashes that lie side by side: in pairs, level by level; an odd last one moves up as it is.

    That is the split at the largest power of two, from below.
    """
    if not hashes:
        return EMPTY_ROOT
    while len(hashes) > HASH_BYTES:
        hashes = above(hashes)
    return hashes


def above(hashes: bytes) -> bytes:
    """The level over hashes that lie side by side."""
    odd = hashes[-HASH_BYTES:] if len(hashes) % 64 else b""
    paired = len(hashes) - len(odd)
    return b"".join([sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, paired, 64)]) + odd


def split(size: int) -> int:
    """The largest power of two below `size`, for a size of two or more."""
    return 1 << (size - 1).bit_length() - 1


# -- proofs --------------------------------------------------------------------------------------------------------


def inclusion_proof(index: int, size: int, root: Subtrees) -> list[bytes]:
    """PATH(index, D[size]). Raises ValueError where the tree has no such leaf."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}: name one of 0 to {size - 1}")
    path, _, _ = _siblings(index, size, root, is_whole=lambda first, end: end - first == 1)
    return path[::-1]


def consistency_proof(old: int, new: int, root: Subtrees) -> list[bytes]:
    """PROOF(old, D[new]); empty where the two are the same tree. Raises ValueError for sizes that prove nothing."""
    if not 0 < old <= new:
        raise ValueError(f"a tree of {old} leaves cannot grow to {new}: name two sizes, the smaller one first, from 1")
    path, first, end = _siblings(old - 1, new, root, is_whole=lambda _, end: end == old)
    if first:  # else the old tree is a whole subtree of the new one, and the verifier has its root
        path.append(root(first, end))
    return path[::-1]


def _siblings(
    index: int, size: int, root: Subtrees, *, is_whole: Callable[[int, int], bool]
) -> tuple[list[bytes], int, int]:
    """From the root down to the subtree of leaf `index` that `is_whole`: what stands beside the way, and that range."""
    path = []
    first, end = 0, size
    while not is_whole(first, end):
        middle = first + split(end - first)
        if index < middle:
            path.append(root(middle, end))
            end = middle
        else:
            path.append(root(first, middle))
            first = middle
    return path, first, end


# -- verification --------------------------------------------------------------------------------------------------


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` proves that the leaf of this hash stands at `index` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether `path` proves that the tree of `old_root` grew to that of `new_root` (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not path and old_root == new_root
    whole = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not whole:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    of_old = of_new = whole[0]
    for hash_ in whole[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            of_old, of_new = node_hash(hash_, of_old), node_hash(hash_, of_new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            of_new = node_hash(of_new, hash_)
        at, last = at >> 1, last >> 1
    return last == 0 and of_old == old_root and of_new == new_root
