"""The digest of a message: what makes two messages of one source and id the same one."""

from __future__ import annotations

import hashlib
from datetime import datetime


def digest_of(
    source: str, id_: str, type_: str, time: datetime | None, revision: int | None, canonical: bytes
) -> bytes:
    """SHA-256 over the attributes and the canonical data (JSON with sorted keys, UTF-8).

    No attribute holds NUL.
    """
    identity = (source, id_, type_, time.isoformat() if time else "", "" if revision is None else str(revision), "")
    return hashlib.sha256("\0".join(identity).encode() + canonical).digest()
