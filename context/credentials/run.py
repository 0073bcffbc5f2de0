"""The credential service as a process: behind the access middleware, with TLS wherever it leaves the machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from context.credentials.app import CredentialService
from context.credentials.grants import Grants, InvalidGrants
from context.service.run import ServiceAddress, run_app
from domain.errors import UsageError, problem
from runtime.compose import Parts, utc_now
from runtime.compose.credentials import DatabaseLogin, credential_fetches_of, login_of
from tenantry_client.access.allow_list import InvalidAllowList, WatchedAllowList
from tenantry_client.access.middleware import AccessMiddleware
from tenantry_client.access.watched_file import WatchedFile
from tenantry_client.asap import KeyFolder, Verifier

SERVICE: Final = "credential-service"
PROBES: Final = (b"/livez", b"/readyz")
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


def credential_service_of(parts: Parts, *, keys: Path, allow_list: Path, grants: Path) -> AccessMiddleware:
    """The service behind the middleware; both files are read again when they change. Raises UsageError."""
    try:
        allowed, granted = WatchedAllowList(allow_list), WatchedFile(grants, Grants.read)
    except (InvalidAllowList, InvalidGrants) as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        what = problem("file-unreadable", what="the file", path=error.filename, reason=error.strerror)
        raise UsageError(what) from None
    except UnicodeDecodeError:
        raise UsageError(problem("file-not-utf8", what="one of", path=f"{allow_list} and {grants}")) from None
    verifier = Verifier(
        SERVICE, KeyFolder(keys), may_call=lambda caller: allowed.refresh().knows(caller, callee=SERVICE)
    )
    service = CredentialService(
        login=Logins(parts), record=credential_fetches_of(parts).record, grants=granted.refresh, clock=utc_now
    )
    return AccessMiddleware(service, service=SERVICE, verifier=verifier, allow_list=allowed.refresh, open_paths=PROBES)


def serve(app: AccessMiddleware, place: ServiceAddress, *, stop: threading.Event, ready: Callable[[int], None]) -> None:
    """Serve until `stop` is set. Raises OSError where it cannot listen."""
    run_app(app, place, stop=stop, ready=ready)
