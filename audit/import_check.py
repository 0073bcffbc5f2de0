"""Check of an import against signed checkpoints.

While the import reads line after line, the Merkle tree over their leaves grows. Where the tree reaches a checkpoint
(the one in the manifest of the export, and one that was kept elsewhere), the two roots must be the same. Another root
shows that an event up to there was changed. The leaf hash or the proof that a line carries shows which line it is.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

from adapters.postgres.log_copy import Stored
from adapters.postgres.seal_store import leaf_of
from audit.checkpoints import Checkpoint
from audit.merkle import leaf_hash, verify_inclusion
from audit.tiles import GrowingTree
from domain.errors import Tampered, problem

_TOGETHER: Final = 4096


class ImportCheck:
    """Check of every event of the file, in order. `proven`: the checkpoint that proofs in the file lead to."""

    def __init__(self, checkpoints: Iterable[Checkpoint], *, proven: Checkpoint | None = None) -> None:
        self._coming = sorted(checkpoints, key=lambda each: (each.position, each.size))
        self._proven = proven
        self._tree = GrowingTree()
        self._hashes: list[bytes] = []
        self._attested_upto = 0
        self.attested = 0
        """The number of events that the checkpoints so far attest."""

    def see(self, event: Stored, line: Mapping[str, Any]) -> None:
        """The event of one line; `line` is the line. Raises Tampered, and ValueError for a hash that is none."""
        position = event[0]
        while self._coming and position > self._coming[0].position:
            self._compare(self._coming.pop(0))
        found = leaf_hash(leaf_of(event))
        if "leaf_hash" in line and base64.b64decode(line["leaf_hash"], validate=True) != found:
            raise _changed(position)
        if self._proven is not None and line.get("proof") is not None:
            path = [base64.b64decode(each, validate=True) for each in line["proof"]]
            if not verify_inclusion(found, int(line["leaf"]), self._proven.size, path, self._proven.root):
                raise _changed(position)
        self._hashes.append(found)
        if len(self._hashes) == _TOGETHER:
            self._grow()

    def close(self) -> None:
        """The file is at its end. Raises Tampered."""
        for checkpoint in self._coming:
            self._compare(checkpoint)
        self._coming.clear()

    def _compare(self, checkpoint: Checkpoint) -> None:
        self._grow()
        where = f"after position {self._attested_upto} and up to position {checkpoint.position}"
        if self._tree.size != checkpoint.size:
            raise Tampered(
                problem(
                    "export-leaves-differ",
                    size=self._tree.size,
                    position=checkpoint.position,
                    attested=checkpoint.size,
                    where=where,
                )
            )
        if self._tree.root() != checkpoint.root:
            raise Tampered(problem("export-roots-differ", size=checkpoint.size, where=where))
        self._attested_upto, self.attested = checkpoint.position, checkpoint.size

    def _grow(self) -> None:
        for _ in self._tree.add(b"".join(self._hashes)):
            pass  # whole tiles are kept by a seal; here only the edge is needed
        self._hashes.clear()


def _changed(position: int) -> Tampered:
    return Tampered(problem("export-event-changed", position=position))
