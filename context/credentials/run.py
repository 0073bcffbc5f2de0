"""The credential service over the parts of a process: logins with the configuration that is adopted, and the record."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from context.credentials.app import CredentialService
from context.credentials.grants import Grants, InvalidGrants
from domain.errors import UsageError, problem
from runtime.compose import Parts, utc_now
from runtime.compose.credentials import DatabaseLogin, credential_fetches_of, login_of
from tenantry_client.access.watched_file import WatchedFile

LEARN_SECONDS: Final = 5.0
"""For how long the configuration that was adopted last is used without another look."""


class Logins:
    """Finds logins with the configuration that is adopted. One at a time: a fetch is rare, and reads one tenant."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._learn_at = 0.0

    def __call__(self, tenant_id: str, product: str) -> DatabaseLogin:
        """Raises UsageError, Unavailable."""
        with self._lock:
            if time.monotonic() >= self._learn_at:
                self._parts.learn()
                self._learn_at = time.monotonic() + LEARN_SECONDS
            return login_of(self._parts, tenant_id, product)


def credential_service_of(parts: Parts, grants: Path) -> CredentialService:
    """The service, to be put behind the access middleware. The grants are read again when they change.

    Raises UsageError.
    """
    try:
        granted = WatchedFile(grants, Grants.read)
    except InvalidGrants as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(problem("file-unreadable", what="grants", path=grants, reason=error.strerror)) from None
    except UnicodeDecodeError:
        raise UsageError(problem("file-not-utf8", what="grants", path=grants)) from None
    return CredentialService(
        login=Logins(parts), record=credential_fetches_of(parts).record, grants=granted.refresh, clock=utc_now
    )
