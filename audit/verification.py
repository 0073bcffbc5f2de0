"""Verification of the log against its seal: the first position that was changed.

The verification computes every hash again from `stored_events`, in one snapshot, and compares with two things:

    hashes of the events in the tiles     name each event that was changed, deleted or inserted
    roots in the signed checkpoints       say whether the tiles themselves can be believed

An attacker with write access to the log can also write its tiles, so that both agree, but cannot sign a checkpoint.
So the verification grows one tree: over the stored events as long as they agree with the tiles; where they differ, over
the side that the level above confirms. It compares the root at the size of every checkpoint that a key of the keyring
has signed. The events between the last checkpoint that fits and the first that does not were rewritten. A log that was
cut off together with its tiles and its checkpoints is consistent in itself: only a checkpoint that was kept elsewhere
(`outside`) shows the cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.seal_store import SealStore
from application.progress import Progress
from audit.checkpoints import Checkpoint, Keyring, Note, key_ids
from audit.tree_verification import Kind, TreeVerification
from domain.errors import UsageError, problem

KEPT: Final = 1_000
"""Findings that are named one by one; the others are counted."""


@dataclass(frozen=True, slots=True)
class SealFinding:
    """What is wrong with the events from position `first` to position `last`."""

    kind: Kind
    first: int
    last: int
    explanation: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The result. The log is as it was sealed where there are no `findings`."""

    events: int
    position: int
    checkpoints: int
    signed: bool
    """Whether a key of the keyring has signed the newest checkpoint."""
    not_sealed: int
    """About how many events follow the last sealed one; the verification does not cover them."""
    findings: Sequence[SealFinding]
    more: int
    """Findings beyond those that are kept."""
    seconds: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0


class Verification:
    """One verification of the whole log. No other object uses `store`."""

    def __init__(self, store: SealStore, keys: Keyring, *, say: Callable[[Progress], None] = lambda _: None) -> None:
        self._store = store
        self._keys = keys
        self._say = say
        self._findings: list[SealFinding] = []
        self._more = 0

    def verify(self, outside: Note | None = None) -> Verified:
        """Verify the whole log. `outside` is a checkpoint that was kept elsewhere.

        Raises UsageError where nothing is sealed, or where keys are set and none of them has signed `outside`.
        """
        started = time.monotonic()
        if outside is not None and self._keys.verifiers and self._keys.standing(outside) != "signed":
            whose = ", ".join(key_ids(outside)) or "nobody"
            raise UsageError(problem("checkpoint-foreign", whose=whose))
        with self._store.looking():
            trusted, signed, attested = self._trusted(self._store.notes(), outside)
            growing = TreeVerification(
                self._store, trusted, self._found, outside=outside.checkpoint if outside else None
            )
            if not trusted and not growing.tiles:
                raise UsageError(problem("nothing-sealed"))
            for progress in growing.run():
                self._say(progress)
            self._beside(growing, attested)
            not_sealed = max(0, self._store.mark() - growing.sealed_to)
        findings = sorted(self._findings, key=lambda finding: (finding.first, finding.last))
        return Verified(
            events=growing.events,
            position=growing.sealed_to,
            checkpoints=len(trusted),
            signed=signed,
            not_sealed=not_sealed,
            findings=findings,
            more=self._more,
            seconds=time.monotonic() - started,
        )

    def _beside(self, growing: TreeVerification, attested: int) -> None:
        """Faults that the tree does not show: missing checkpoints, surplus tiles, events without a position.

        `attested` is how many events the largest checkpoint has. Tiles and their checkpoint are written together.
        """
        if growing.size > attested:
            left = f"the newest that is left has {attested}" if attested else "none is left"
            what = f"the checkpoint over the seal's {growing.size} events is gone: {left}"
            self._found("checkpoint", growing.good_to + 1, growing.sealed_to, what)
        if not growing.torn:
            for level, number in self._store.misplaced_tiles(growing.size):
                self._found("seal", 0, 0, f"tile {number} of level {level} is no part of the seal: delete it")
        if count := self._store.count_without_position():
            self._found("inserted", 0, 0, f"{count} events without a position, which only their streams show")

    def _trusted(self, texts: Sequence[str], outside: Note | None) -> tuple[list[Checkpoint], bool, int]:
        """The checkpoints that count, by size; whether the newest of our own is signed; the size of the largest."""
        trusted, attested = [], outside.checkpoint.size if outside else 0
        standing = "unsigned"
        for text in texts:
            try:
                note = Note.parse(text)
            except UsageError:
                standing = "forged"
                self._found("checkpoint", 0, 0, "a checkpoint of the log cannot be read")
                continue
            checkpoint = note.checkpoint
            attested = max(attested, checkpoint.size)
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
        if outside is not None and outside.checkpoint not in trusted:
            trusted.append(outside.checkpoint)
        return sorted(trusted, key=lambda checkpoint: checkpoint.size), standing == "signed", attested

    def _found(self, kind: Kind, first: int, last: int, explanation: str) -> None:
        """Keep a finding; a finding that continues the last one is merged with it."""
        if self._findings:
            before = self._findings[-1]
            if (before.kind, before.last + 1, before.explanation) == (kind, first, explanation):
                self._findings[-1] = SealFinding(kind, before.first, last, explanation)
                return
        if len(self._findings) < KEPT:
            self._findings.append(SealFinding(kind, first, last, explanation))
        else:
            self._more += 1
