"""Protection of our own HTTP surfaces: the access middleware, with the keys and the allow-list that are named.

Every surface of ours that answers services is put behind it, the context service and the limits service among them
(tests/access/test_every_surface.py holds the list). What stays open is named by the surface: its probes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from domain.errors import UsageError
from tenantry_client.access.allow_list import AllowList, InvalidAllowList, WatchedAllowList
from tenantry_client.access.middleware import AccessMiddleware, App
from tenantry_client.access.rates import RateCoordinator, RateLimits
from tenantry_client.asap import KeyFolder, KeySource, Replays, Verifier
from tenantry_client.context.keys import ContextKeys
from tenantry_client.context.tenancy import Tenancy

PROBES = (b"/livez", b"/readyz")


@dataclass(frozen=True, slots=True)
class Protection:
    """What goes around a surface of the service of that name."""

    service: str
    keys: KeySource
    allow_list: Callable[[], AllowList]
    rates: RateCoordinator | None = None
    replays: Replays | None = None
    open_paths: Collection[bytes] = PROBES

    def __call__(self, app: App) -> App:
        verifier = Verifier(
            self.service,
            self.keys,
            may_call=lambda caller: self.allow_list().knows(caller, callee=self.service),
            replays=self.replays,
        )
        return AccessMiddleware(
            app,
            service=self.service,
            verifier=verifier,
            allow_list=self.allow_list,
            open_paths=self.open_paths,
            limits=RateLimits(self.rates) if self.rates is not None else None,
        )


def key_source(*, keys: Path | None, tenancy_dir: Path | None) -> KeySource:
    """Keys of a folder, or as this host's sidecar tells them. Raises UsageError where none or both are named."""
    if (keys is None) == (tenancy_dir is None):
        raise UsageError("callers are known by their keys: give --tenancy-dir, or --keys")
    return KeyFolder(keys) if keys is not None else ContextKeys(Tenancy.open(tenancy_dir))


def watched(file: Path) -> Callable[[], AllowList]:
    """The allow-list of the file, as it is now. Raises UsageError."""
    try:
        return WatchedAllowList(file).refresh
    except InvalidAllowList as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8: save it as UTF-8") from None
