"""Faults in the log of a worker: an unexpected error is told whole once, and by its fingerprint from then on.

What the quarantine says of it names the same fingerprint (domain/faults.py).
"""

from __future__ import annotations

from threading import Lock
from typing import Final

import structlog

from domain.faults import explanation, fingerprint, trace

log = structlog.get_logger(__name__)

_told: Final[set[str]] = set()
_lock: Final = Lock()


def tell(error: Exception) -> str:
    """Log the error; the sentence for the quarantine."""
    found = fingerprint(error)
    with _lock:
        is_new = found not in _told
        _told.add(found)
    told = {"traceback": trace(error)} if is_new else {}
    log.error("a message met an unexpected error in Tenantry", fingerprint=found, error=type(error).__name__, **told)
    return explanation(error)
