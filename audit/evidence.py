"""Evidence pack: all that the log has of one tenant, in one file that anybody can verify offline.

    events.jsonl      each event of the tenant as it was sealed, with the path that proves it
    explain.json      why each product was usable or not, at the checkpoint
    timeline.json     everything about the tenant in order, as far as the log has it
    checkpoint.txt    the signed checkpoint that the paths lead to; key.txt: the public key that verifies it
    verify.py         the program that verifies it (evidence_verifier.py)
    manifest.json     the hash of each part, signed in manifest.sig by the same key
    persons.json      names, addresses and contacts in the clear: only where an operator asked for them

All of it is as of the checkpoint, so the same checkpoint gives the same bytes. Personal fields stay encrypted in the
events. The events of the tenant's customer are part of it: what they decided is explained by them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from audit import evidence_verifier
from audit.checkpoints import Signer
from audit.evidence_verifier import packed
from audit.seal import Inclusion


@dataclass(frozen=True, slots=True)
class Evidence:
    """What goes into a pack beside the proofs. `persons` is none where nobody asked for it."""

    tenant_id: str
    explained: Mapping[str, Any]
    timeline: Iterable[Mapping[str, Any]]
    persons: Mapping[str, Any] | None = None


def pack(evidence: Evidence, proofs: Iterable[Inclusion], note: str, signer: Signer) -> bytes:
    """The whole file. `note` is the checkpoint that all `proofs` lead to."""
    parts = {
        "events.jsonl": "".join(_line(proof) for proof in proofs).encode(),
        "explain.json": _json(evidence.explained),
        "timeline.json": _json(list(evidence.timeline)),
        **({"persons.json": _json(evidence.persons)} if evidence.persons is not None else {}),
        "checkpoint.txt": note.encode(),
        "key.txt": f"{signer.verifier}\n".encode(),
        "verify.py": Path(evidence_verifier.__file__).read_bytes(),
    }
    manifest = _json(
        {
            "kind": "tenantry-evidence",
            "version": 1,
            "tenant": evidence.tenant_id,
            "parts": {name: sha256(content).hexdigest() for name, content in parts.items()},
        }
    )
    return packed({"manifest.json": manifest, "manifest.sig": signer.signature(manifest).encode(), **parts})


def _line(proof: Inclusion) -> str:
    position, stream, version, topic, state = _columns(proof.leaf)
    try:
        stored = {"state": state.decode()}
    except UnicodeDecodeError:
        stored = {"state_base64": base64.b64encode(state).decode()}
    row = {
        "position": int.from_bytes(position, "big"),
        "stream": stream.decode(),
        "version": int.from_bytes(version, "big"),
        "topic": topic.decode(),
        **stored,
        "index": proof.index,
        "path": [base64.b64encode(each).decode() for each in proof.path],
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def _columns(leaf: bytes) -> list[bytes]:
    """The columns of a sealed row: each after four bytes of its length, after two of their number."""
    columns, at = [], 2
    while at < len(leaf):
        length = int.from_bytes(leaf[at : at + 4], "big")
        columns.append(leaf[at + 4 : at + 4 + length])
        at += 4 + length
    return columns


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, default=_plain) + "\n").encode()


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
