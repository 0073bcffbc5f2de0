"""Seal of the log (signed Merkle tree), and the proof that one event is in it.

The leaves of the Merkle tree are the stored rows in the order of positions; their personal fields are encrypted.
Positions have gaps (an append that failed has used some); leaves are counted without gaps, and each has its position in
its bytes and beside its hash. A customer is forgotten by deleting a key: no row changes, so every proof stays valid.

    stored_events ─ up to the mark ─▶ 65,536 rows ─ hash ─▶ tiles + checkpoint, one commit ─▶ the next ones

Only leaves up to the high-water mark are hashed, so the sealing never delays an append. It may be killed at any point,
run again and run twice at once: under a lock, each batch continues from the last committed checkpoint. That checkpoint
is checked against its tiles before a new one is signed on top of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from adapters.postgres.seal_store import BEFORE_ALL, POSITION, LeafTile, SealStore, packed
from application.progress import Progress
from audit.checkpoints import Checkpoint, Keyring, Note, key_ids
from audit.last_signed import LastSigned
from audit.merkle import (
    HASH_BYTES,
    Subtrees,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from audit.tiles import TILE, GrowingTree, subtrees
from domain.errors import Tampered, UsageError, problem

_POSITION: Final = slice(POSITION.start + 1, POSITION.stop + 1)

BATCH: Final = 65_536
"""Events in one commit: what a kill does again, well under a second."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """The result of a run: the newest checkpoint (none of an empty log), and the number of new events."""

    note: Note | None
    events: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Proof that the event is in the log. `leaf` is the hashed bytes, see adapters/postgres/seal_store.py."""

    position: int
    index: int
    leaf: bytes
    leaf_hash: bytes
    path: Sequence[bytes]
    note: Note


@dataclass(frozen=True, slots=True)
class Consistency:
    """Proof that the log of `new` events begins with the log of `old` events."""

    old: int
    new: int
    old_root: bytes
    new_root: bytes
    path: Sequence[bytes]


class Seal:
    """Sealer of the log and prover of its events. No other object uses `store`; `last` is kept outside of it."""

    def __init__(self, store: SealStore, keys: Keyring, *, batch: int = BATCH, last: LastSigned | None = None) -> None:
        self._store = store
        self._keys = keys
        self._last = last or LastSigned()
        self._batch = batch

    # -- sealing ------------------------------------------------------------------------------------------------------

    def seal(self, say: Callable[[Progress], None] = lambda _: None) -> Sealed:
        """Seal everything up to the high-water mark. Raises Tampered, Unavailable, and UsageError for a missing key."""
        started, events, first = time.monotonic(), 0, None
        while True:
            with self._store.sealing():
                tree, newest = self._resume()
                mark = self._store.mark()
                after = newest.checkpoint.position if newest else BEFORE_ALL
                if first is None:
                    self._continues(newest)
                    first = max(after, 0)
                hashes, positions = hashed(self._store, after, mark, self._batch)
                if not hashes:
                    newest = self._countersigned(newest)
                    break
                count = len(hashes) // HASH_BYTES
                upto = mark if count < self._batch else int.from_bytes(positions[-8:], "big")
                newest = self._write(tree, newest, hashes, positions, upto)
            events += count
            say(Progress(max(0, upto - first), max(0, mark - first), events))
            if upto == mark:
                break
        if newest is not None:
            self._last.keep(newest)
        return Sealed(newest, events, time.monotonic() - started)

    def _resume(self) -> tuple[GrowingTree, Note | None]:
        """The tree as the last run left it, checked against its checkpoint."""
        edge, text = self._store.edge(), self._store.newest_note()
        if text is None:
            if edge:
                raise Tampered(problem("seal-without-checkpoint"))
            return GrowingTree(), None
        note = self._judged(text)
        try:
            tree = _tree(edge)
        except ValueError:
            tree = GrowingTree()
        if (tree.size, tree.root()) != (note.checkpoint.size, note.checkpoint.root):
            raise Tampered(problem("seal-unfit", size=note.checkpoint.size))
        return tree, note

    def _continues(self, newest: Note | None) -> None:
        """Raises Tampered where the seal does not continue the checkpoint that was signed here last."""
        last = self._last.read()
        if last is None:
            return
        old, size = last.checkpoint, newest.checkpoint.size if newest else 0
        try:
            goes_on = old.size <= size and (not old.size or subtrees(self._tile)(0, old.size) == old.root)
        except ValueError:
            goes_on = False
        if not goes_on:
            raise Tampered(problem("seal-discontinued", size=size, attested=old.size, path=self._last.path))

    def _judged(self, text: str) -> Note:
        """The checkpoint, after the check of its signature."""
        try:
            note = Note.parse(text)
        except UsageError as error:
            raise Tampered(problem("seal-checkpoint-unreadable")) from error
        match self._keys.standing(note):
            case "forged":
                raise Tampered(problem("seal-checkpoint-forged"))
            case "unknown" if self._keys.verifiers:
                raise UsageError(problem("seal-checkpoint-foreign", note=", ".join(key_ids(note))))
            case _:
                return note

    def _write(self, tree: GrowingTree, newest: Note | None, hashes: bytes, positions: bytes, upto: int) -> Note:
        if newest is not None and newest.signatures and self._keys.signer is None:
            raise UsageError(problem("seal-key-missing", newest=", ".join(key_ids(newest))))
        begun = tree.size // TILE
        kept = tree.size % TILE
        before = self._store.leaf_tiles(begun, begun + 1).get(begun) if kept else None
        positions = (before.positions if before else b"") + positions
        tiles = [*tree.add(hashes), *tree.edge()]
        leaf_tiles = [
            LeafTile(number, each, positions[(number - begun) * TILE * 8 :][: len(each) // HASH_BYTES * 8])
            for level, number, each in tiles
            if level == 0
        ]
        self._store.write_tiles(leaf_tiles, [tile for tile in tiles if tile[0]])
        note = self._keys.note(Checkpoint(self._keys.origin, tree.size, tree.root(), upto))
        self._store.write_note(str(note))
        return note

    def _countersigned(self, newest: Note | None) -> Note | None:
        """The checkpoint, signed again by the current key: after a rotation, or when a first key was set."""
        if newest is None or self._keys.signed_by_the_newest(newest):
            return newest
        checkpoint = newest.checkpoint
        again = self._keys.note(Checkpoint(self._keys.origin, checkpoint.size, checkpoint.root, checkpoint.position))
        self._store.write_note(str(again))
        return again

    # -- proving ------------------------------------------------------------------------------------------------------

    def newest(self) -> Note:
        """The newest checkpoint. Raises UsageError where nothing is sealed, Tampered where it does not hold."""
        with self._store.looking():
            return self._newest()

    def prove(self, event: int | UUID, say: Callable[[Progress], None] = lambda _: None) -> Inclusion:
        """Prove that the event, by its position or its id, is in the newest checkpoint.

        Raises UsageError where there is no such event or it is not sealed yet, Tampered where it was changed.
        """
        with self._store.looking():
            if isinstance(event, int):
                position: int | None = event
            else:
                position = self._store.find(event, lambda done, total: say(Progress(done, total, done)))
            if position is None:
                raise UsageError(problem("event-unknown", event=event))
            return self._proved(position, self._newest(), subtrees(self._tile))

    def prove_each(self, positions: Sequence[int], note: Note) -> list[Inclusion]:
        """Proofs of these events, all of them by this checkpoint. Raises as `prove`."""
        with self._store.looking():
            root = subtrees(self._tile)
            return [self._proved(position, note, root) for position in positions]

    def _proved(self, position: int, note: Note, root: Subtrees) -> Inclusion:
        leaf, found, checkpoint = self._leaf(position), self._place(position), note.checkpoint
        if leaf is None and found is None:
            raise UsageError(problem("event-unknown", event=position))
        if found is None:
            if position <= checkpoint.position:
                raise Tampered(problem("event-inserted", position=position))
            raise UsageError(problem("event-not-sealed", position=position))
        index, sealed_hash = found
        if leaf is None or leaf_hash(leaf) != sealed_hash:
            what = "deleted" if leaf is None else "changed"
            raise Tampered(problem("event-differs-from-seal", position=position, what=what))
        try:
            path = inclusion_proof(index, checkpoint.size, root)
        except ValueError as error:
            raise Tampered(problem("seal-tree-broken", reason=error)) from error
        if not verify_inclusion(sealed_hash, index, checkpoint.size, path, checkpoint.root):
            raise Tampered(problem("seal-path-broken", position=position))
        return Inclusion(position, index, leaf, sealed_hash, path, note)

    def consistency(self, old: int, new: int) -> Consistency:
        """Prove that the first `new` events begin with the first `old`. Raises UsageError for sizes beyond the seal."""
        with self._store.looking():
            note = self._newest()
            size = note.checkpoint.size
            if not 0 < old <= new <= size:
                raise UsageError(problem("seal-proof-range", old=old, new=new, size=size))
            root = subtrees(self._tile)
            try:
                roots = root(0, old), root(0, new)
                growth = consistency_proof(old, new, root)
                to_newest = consistency_proof(new, size, root)
            except ValueError as error:
                raise Tampered(problem("seal-tree-broken", reason=error)) from error
        if not verify_consistency(old, new, growth, *roots) or not verify_consistency(
            new, size, to_newest, roots[1], note.checkpoint.root
        ):
            raise Tampered(problem("seal-consistency-broken", old=old, new=new))
        return Consistency(old, new, *roots, growth)

    def _newest(self) -> Note:
        text = self._store.newest_note()
        if text is None:
            raise UsageError(problem("nothing-sealed"))
        return self._judged(text)

    def _leaf(self, position: int) -> bytes | None:
        rows = [bytes(row) for row in self._store.leaves(position - 1, position)]
        return rows[0] if rows else None

    def _place(self, position: int) -> tuple[int, bytes] | None:
        """The number of the leaf of that position, and its hash."""
        tile = self._store.tile_of(position)
        if tile is None:
            return None
        desired_state = packed([position])
        at = next((at for at in range(0, len(tile.positions), 8) if tile.positions[at : at + 8] == desired_state), None)
        if at is None:
            return None
        within = at // 8
        return tile.number * TILE + within, tile.hashes[within * HASH_BYTES :][:HASH_BYTES]

    def _tile(self, level: int, number: int) -> bytes:
        return self._store.tile(level, number)


def hashed(store: SealStore, after: int, upto: int, limit: int | None = None) -> tuple[bytes, bytes]:
    """Hashes and positions of the events, side by side."""
    hashes, positions = [], []
    for leaf in store.leaves(after, upto, limit):
        marked = b"\x00" + leaf  # leaf_hash, without a call for each of millions
        hashes.append(sha256(marked).digest())
        positions.append(marked[_POSITION])
    return b"".join(hashes), b"".join(positions)


def _tree(edge: dict[int, tuple[int, bytes]]) -> GrowingTree:
    """Raises ValueError where the last tiles do not fit each other."""
    number, hashes = edge.get(0, (0, b""))
    size = number * TILE + len(hashes) // HASH_BYTES
    parts = {}
    for level, (number, hashes) in edge.items():
        if len(hashes) != TILE * HASH_BYTES and number == size >> 8 * (level + 1):
            parts[level] = hashes
    return GrowingTree(size, parts)
