"""Faults in the log of a worker: an unexpected error is told whole once, and by its fingerprint, at most once a minute,
from then on.

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
"""Before the same fault is told again; each message that met it is in the quarantine anyway."""

_told: Final[dict[str, float]] = {}
_lock: Final = Lock()


def tell(error: Exception) -> str:
    """Log the error; the sentence for the quarantine."""
    found = fingerprint(error)
    with _lock:
        is_new, now = found not in _told, time.monotonic()
        is_due = is_new or now - _told[found] > AGAIN_SECONDS
        if is_due:
            _told[found] = now
    told = {"traceback": trace(error)} if is_new else {}
    if is_due:
        name = type(error).__name__
        log.error("a message met an unexpected error in Tenantry", fingerprint=found, error=name, **told)
    return sentence(explanation(error))
