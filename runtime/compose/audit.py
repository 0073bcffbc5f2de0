"""Audit: the seal over the log, its verification, and the log as a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adapters.encryption import MasterKey
from adapters.postgres.log_copy import LogCopy
from adapters.postgres.log_faults import LogFaults
from adapters.postgres.log_import import LogImport
from adapters.postgres.seal_store import SealStore
from application.progress import Progress
from audit.checkpoints import Keyring
from audit.importing import Keys
from audit.last_signed import LastSigned
from audit.seal import Seal
from audit.verification import Verification
from runtime.compose.parts import Parts
from runtime.compose.process import C, once
from runtime.seal_keys import load_seal_keys


@once
def seal_keys_of(parts: Parts) -> Keyring:
    return load_seal_keys(parts.settings)


@once
def last_signed_of(parts: Parts) -> LastSigned:
    return LastSigned(parts.settings.seal_checkpoint_path)


@once
def seal_of(parts: Parts) -> Seal:
    return Seal(_seal_store(parts), seal_keys_of(parts), last=last_signed_of(parts))


def verification_of(parts: Parts, say: Callable[[Progress], None]) -> Verification:
    return Verification(_seal_store(parts), seal_keys_of(parts), say=say)


def _seal_store(parts: Parts) -> SealStore:
    return _opened(parts, SealStore)


@once
def log_copy_of(parts: Parts) -> LogCopy:
    return _opened(parts, LogCopy)


@once
def log_faults_of(parts: Parts) -> LogFaults:
    return _opened(parts, LogFaults)


def _opened(parts: Parts, open_: Callable[[str], C]) -> C:
    """What reads the log, once the database has answered."""
    parts.knock()
    return parts.closing(open_(parts.endpoints.database_url))


@once
def log_import_of(parts: Parts) -> LogImport:
    parts.knock()
    return LogImport(parts.endpoints.database_url)


def exported_keys_of(parts: Parts, path: Path) -> Keys:
    return Keys(path, MasterKey(parts.master_key))
