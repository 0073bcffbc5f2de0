"""Is the tree that of RFC 6962, and does a proof hold for what it proves and for nothing else?"""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The reference vectors of certificate-transparency: eight leaves, and the root over the first one, two, ... of them.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {  # (leaf, size): the path, as published with the vectors
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
GROWTHS = {  # (old, new): the proof, as published with the vectors
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}

trees = st.lists(st.binary(max_size=8), min_size=1, max_size=70)


def naive(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962 writes it down."""
    if len(leaves) <= 1:
        return sha256(b"\x00" + leaves[0]).digest() if leaves else sha256().digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + naive(leaves[:k]) + naive(leaves[k:])).digest()


def hexed(path: list[bytes]) -> list[str]:
    return [hash_.hex() for hash_ in path]


def flipped(hash_: bytes) -> bytes:
    return bytes([hash_[0] ^ 1]) + hash_[1:]


# -- the vectors ---------------------------------------------------------------------------------------------------


def test_the_root_over_nothing_is_the_hash_of_nothing() -> None:
    assert root_of(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of(b"") == EMPTY_ROOT


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_vectors(size: int) -> None:
    assert root_of(b"".join(leaf_hash(leaf) for leaf in LEAVES[:size])).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size"), PATHS)
def test_paths_are_those_of_the_vectors(index: int, size: int) -> None:
    assert hexed(inclusion_proof(index, size, lambda a, b: naive(LEAVES[a:b]))) == PATHS[index, size]


@pytest.mark.parametrize(("old", "new"), GROWTHS)
def test_consistency_proofs_are_those_of_the_vectors(old: int, new: int) -> None:
    assert hexed(consistency_proof(old, new, lambda a, b: naive(LEAVES[a:b]))) == GROWTHS[old, new]


# -- properties ----------------------------------------------------------------------------------------------------


@given(trees)
def test_the_root_from_below_is_the_root_of_the_definition(leaves: list[bytes]) -> None:
    assert root_of(b"".join(map(leaf_hash, leaves))) == naive(leaves)


@given(trees, st.data())
def test_every_leaf_is_proved_and_nothing_else_is(leaves: list[bytes], data: st.DataObject) -> None:
    size, root = len(leaves), naive(leaves)
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_proof(index, size, lambda a, b: naive(leaves[a:b]))
    leaf = leaf_hash(leaves[index])
    assert verify_inclusion(leaf, index, size, path, root)
    assert not verify_inclusion(flipped(leaf), index, size, path, root)
    assert not verify_inclusion(leaf, index, size, path, flipped(root))
    assert not verify_inclusion(leaf, index, size, [*path, root], root)
    assert not verify_inclusion(leaf, size, size, path, root)
    for at in range(len(path)):
        assert not verify_inclusion(leaf, index, size, [*path[:at], flipped(path[at]), *path[at + 1 :]], root)
        assert not verify_inclusion(leaf, index, size, [*path[:at], *path[at + 1 :]], root)


@given(trees, st.data())
def test_a_tree_that_grew_is_proved_and_one_that_was_changed_is_not(leaves: list[bytes], data: st.DataObject) -> None:
    new = len(leaves)
    old = data.draw(st.integers(1, new))
    path = consistency_proof(old, new, lambda a, b: naive(leaves[a:b]))
    before, after = naive(leaves[:old]), naive(leaves)
    assert verify_consistency(old, new, path, before, after)
    assert not verify_consistency(old, new, path, flipped(before), after)
    assert not verify_consistency(old, new, path, before, flipped(after))
    assert not verify_consistency(old, new, [*path, after], before, after)
    for at in range(len(path)):
        changed = [*path[:at], flipped(path[at]), *path[at + 1 :]]
        assert not verify_consistency(old, new, changed, before, after)


@given(st.integers(-3, 9), st.integers(-3, 8))
def test_what_a_tree_does_not_have_is_refused(index: int, size: int) -> None:
    if 0 <= index < size:
        return
    with pytest.raises(ValueError, match="has no leaf"):
        inclusion_proof(index, size, lambda a, b: b"")
    if not 0 < index <= size:
        with pytest.raises(ValueError, match="cannot grow"):
            consistency_proof(index, size, lambda a, b: b"")
    assert not verify_inclusion(b"", index, size, [], b"")
