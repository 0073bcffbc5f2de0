"""Faults in the log of a worker: an unexpected error is logged whole once, then by its fingerprint, at most once a
minute.

What the quarantine says of it names the same fingerprint (domain/faults.py).
"""

from __future__ import annotations

import time
from threading import Lock
from typing import Final

import structlog

from application.problem_texts import sentence
from domain.faults import explanation, fingerprint, trace

log = structlog.get_logger(__name__)

AGAIN_SECONDS: Final = 60.0
"""Before the same fault is logged again; each message that met it is in the quarantine anyway."""

_logged_at: Final[dict[str, float]] = {}
_lock: Final = Lock()


def tell(error: Exception) -> str:
    """Log the error; the sentence for the quarantine."""
    found = fingerprint(error)
    with _lock:
        is_new, now = found not in _logged_at, time.monotonic()
        is_due = is_new or now - _logged_at[found] > AGAIN_SECONDS
        if is_due:
            _logged_at[found] = now
    details = {"traceback": trace(error)} if is_new else {}
    if is_due:
        name = type(error).__name__
        log.error("a message met an unexpected error in Tenantry", fingerprint=found, error=name, **details)
    return sentence(explanation(error))
