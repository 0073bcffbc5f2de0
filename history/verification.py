"""Is the log still what was sealed, and if not, from which position on?

Everything is computed anew from `stored_events`, in this process, in one snapshot. It is compared with two things:

    hashes of the events in the tiles     name each event that was changed, deleted or inserted
    roots in the signed checkpoints       say whether the tiles themselves can be believed

Whoever can write to the log can write to its tiles as well, and make both fit; but no checkpoint, for want of the key.
So one tree is grown: over what is stored, as long as that is what the tiles say; and where they differ, over whatever
the level above bears out. Its root is compared at the size of every checkpoint that is signed by a key of ours. The
first that does not fit bounds what was rewritten: from behind the last one that does. A log that was cut off together
with its tiles and its checkpoints is whole in itself: only a checkpoint that was held elsewhere (`outside`) tells.

    tile fits the events? ──yes──▶ grow ──▶ upper tiles fit? ──▶ checkpoints of that size fit?
             └──no──▶ do the events fit the level above? ──yes──▶ the tile was changed, grow over the events
                                 └──no──▶ name the events, grow over the tile
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from adapters.seal_store import BEFORE_ALL, LeafTile, SealStore, unpacked
from domain.errors import UsageError
from history.checkpoints import Checkpoint, Keyring, Note, key_ids
from history.merkle import HASH_BYTES, root_of
from history.progress import Progress
from history.seal import hashed
from history.tiles import TILE, TILE_BYTES, GrowingTree

KEPT: Final = 1_000
"""Findings that are named one by one; the others are counted."""

Kind = Literal["changed", "deleted", "inserted", "cut off", "rewritten", "seal", "checkpoint"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with the events from position `first` to position `last`."""

    kind: Kind
    first: int
    last: int
    explanation: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at. The log is as it was sealed where there are no `findings`."""

    events: int
    position: int
    checkpoints: int
    signed: bool
    """Whether the newest checkpoint is signed by a key of ours."""
    unsealed: int
    """About how many events lie behind the last sealed one: nothing is said of them."""
    findings: Sequence[Finding]
    more: int
    """Findings beyond those that are kept."""
    seconds: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0


class Verification:
    """One look at the whole log. `store` is this object's alone."""

    def __init__(self, store: SealStore, keys: Keyring, *, say: Callable[[Progress], None] = lambda _: None) -> None:
        self._store = store
        self._keys = keys
        self._say = say
        self._findings: list[Finding] = []
        self._more = 0

    def verify(self, outside: Note | None = None) -> Verified:
        """Look at everything. `outside` is a checkpoint that was held elsewhere.

        Raises UsageError where nothing is sealed, or where keys are set and none of them has signed `outside`.
        """
        started = time.monotonic()
        if outside is not None and self._keys.verifiers and self._keys.standing(outside) != "signed":
            whose = ", ".join(key_ids(outside)) or "nobody"
            raise UsageError(
                f"the checkpoint is signed by {whose}, and not validly by a seal key: give one of this log, or add its"
                " key"
            )
        with self._store.looking():
            trusted, signed = self._trusted(self._store.notes(), outside)
            growing = _Growing(self._store, trusted, self._found)
            if not trusted and not growing.tiles:
                raise UsageError("nothing is sealed yet: run `tenantry audit seal`")
            for progress in growing.run():
                self._say(progress)
            unsealed = max(0, self._store.mark() - growing.sealed_to)
        findings = sorted(self._findings, key=lambda finding: (finding.first, finding.last))
        return Verified(
            events=growing.events,
            position=growing.sealed_to,
            checkpoints=len(trusted),
            signed=signed,
            unsealed=unsealed,
            findings=findings,
            more=self._more,
            seconds=time.monotonic() - started,
        )

    def _trusted(self, texts: Sequence[str], outside: Note | None) -> tuple[list[Checkpoint], bool]:
        """The checkpoints that count, by their size, and whether the newest of our own is signed."""
        trusted = []
        standing = "unsigned"
        for text in texts:
            try:
                note = Note.parse(text)
            except UsageError:
                standing = "forged"
                self._found("checkpoint", 0, 0, "a checkpoint of the log cannot be read")
                continue
            checkpoint = note.checkpoint
            standing = self._keys.standing(note)
            about = f"the checkpoint of {checkpoint.size} events"
            if standing == "forged":
                self._found("checkpoint", 0, checkpoint.position, f"{about} is not what was signed")
            elif standing == "unknown" and self._keys.verifiers:
                whose = ", ".join(key_ids(note))
                self._found("checkpoint", 0, checkpoint.position, f"{about} is signed by {whose}, no seal key of ours")
            elif standing == "signed" or not self._keys.verifiers:
                trusted.append(checkpoint)
        if texts and standing == "unsigned" and self._keys.verifiers:
            self._found("checkpoint", 0, 0, "the newest checkpoint is not signed: if a key was set since, seal again")
        if outside is not None:
            trusted.append(outside.checkpoint)
        return sorted(trusted, key=lambda checkpoint: checkpoint.size), standing == "signed"

    def _found(self, kind: Kind, first: int, last: int, explanation: str) -> None:
        """Keep a finding; one that goes on where the last one ended becomes one with it."""
        if self._findings:
            before = self._findings[-1]
            if (before.kind, before.last + 1, before.explanation) == (kind, first, explanation):
                self._findings[-1] = Finding(kind, before.first, last, explanation)
                return
        if len(self._findings) < KEPT:
            self._findings.append(Finding(kind, first, last, explanation))
        else:
            self._more += 1


class _Growing:
    """The tree over the log, grown tile by tile, with whatever does not fit on the way."""

    def __init__(
        self, store: SealStore, trusted: Sequence[Checkpoint], found: Callable[[Kind, int, int, str], None]
    ) -> None:
        self._store = store
        self._found = found
        self._ahead = list(trusted)
        self._good: Checkpoint | None = None
        self._torn = False  # no tree can be grown on
        self._ended = False  # there is nothing more, whatever was expected
        self._rewritten = False
        self._tree = GrowingTree()
        self._expected = max((checkpoint.size for checkpoint in trusted), default=0)
        stored = store.count_leaf_tiles()
        self.tiles = max(stored, -(-self._expected // TILE))
        last = store.leaf_tiles(stored - 1, stored).get(stored - 1)
        ends = [checkpoint.position for checkpoint in trusted]
        self.sealed_to = max(ends) if ends else (last.last_position if last else BEFORE_ALL)
        self.events = 0
        self._last_position = 0

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
            self.events += len(hashes) // HASH_BYTES
            whole = len(hashes) == len(tiles) * TILE_BYTES or end == self.tiles
            if whole and _fit(tiles, hashes, positions):
                self._grow(hashes)
                after = upto
            else:
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
            if tile is None:
                width = min(TILE, max(0, self._expected - number * TILE)) if final else TILE
                stop = min(len(positions), at + width)
            else:
                stop = len(positions) if final else bisect_right(positions, tile.last_position)
            ours, where = hashes[at * HASH_BYTES : stop * HASH_BYTES], positions[at:stop]
            upto = tile.last_position if tile is not None else where[-1] if where else after
            basis = self._judge(number, tile, ours, where, after)
            at, after = max(at, stop), max(after, upto)
            if not final and len(basis) != TILE_BYTES and not self._torn:
                self._torn = at < len(positions) or any(tiles[number - first + 1 :])
                if not self._torn:  # nothing comes after it, neither events nor hashes
                    self._ended = True
                    self._grow(basis)
                    return after
                self._found("seal", max(0, after) + 1, self.sealed_to, "the hashes of the seal are gone from here on")
            self._grow(basis)
        return after

    def _judge(self, number: int, tile: LeafTile | None, ours: bytes, where: Sequence[int], after: int) -> bytes:
        """Over which hashes the tree grows on here."""
        if tile is not None and tile.hashes == ours and unpacked(tile.positions) == tuple(where):
            return ours
        if tile is None:
            if where:
                self._found("seal", where[0], where[-1], "the hashes of these events are gone from the seal")
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
        if len(hashes) == TILE_BYTES:
            above = self._store.tile(1, number // TILE)[number % TILE * HASH_BYTES :][:HASH_BYTES]
            if above == root_of(hashes):
                return True
        size = number * TILE + len(hashes) // HASH_BYTES
        return self._tree.size == number * TILE and any(
            (checkpoint.size, checkpoint.root) == (size, self._tree.root(hashes)) for checkpoint in self._ahead
        )

    # -- the tree -----------------------------------------------------------------------------------------------------

    def _grow(self, hashes: bytes) -> None:
        """Add leaves; on the way the tiles above and the checkpoints are compared."""
        while hashes and not self._torn:
            room = len(hashes) // HASH_BYTES
            if self._ahead:
                room = min(room, max(1, self._ahead[0].size - self._tree.size))
            for level, number, made in [*self._tree.add(hashes[: room * HASH_BYTES])]:
                if level and (stored := self._store.tile(level, number)) != made:
                    self._above_differs(level, number, made, stored)
            hashes = hashes[room * HASH_BYTES :]
            self._compare()

    def _compare(self) -> None:
        while self._ahead and self._ahead[0].size <= self._tree.size:
            checkpoint = self._ahead.pop(0)
            if checkpoint.root == self._tree.root():
                self._good = checkpoint
            elif not self._rewritten:
                self._rewritten = True
                first = self._good.position + 1 if self._good else 0
                what = f"the log and its seal were rewritten: the checkpoint of {checkpoint.size} events does not fit"
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
        if self._torn:
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
