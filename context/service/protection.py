"""Who may call the context service: the access middleware, with the keys and the allow-list that are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from context.service.run import PROBES, SERVICE
from domain.errors import UsageError
from tenantry_client.access.allow_list import AllowList, InvalidAllowList
from tenantry_client.access.middleware import AccessMiddleware, App
from tenantry_client.asap import KeyFolder, Verifier


def protection(keys: Path | None, allow_list: Path | None) -> Callable[[App], App]:
    """What goes around the service; nothing without keys. Raises UsageError."""
    if keys is None and allow_list is None:
        return lambda app: app
    if keys is None or allow_list is None:
        raise UsageError("keys and an allow-list go together: give both --keys and --allow-list, or neither")
    try:
        allowed = AllowList.read(allow_list)
    except InvalidAllowList as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"{allow_list} cannot be read: {error.strerror}") from None
    verifier = Verifier(SERVICE, KeyFolder(keys), may_call=lambda caller: allowed.knows(caller, callee=SERVICE))
    return lambda app: AccessMiddleware(
        app, service=SERVICE, verifier=verifier, allow_list=lambda: allowed, open_paths=PROBES
    )
