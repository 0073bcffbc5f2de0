"""Headers for the upstream: what the authorizer says of a request that passed, and what it takes out of it.

They count only beside the edge's own token, which replaces what the user sent:

    tenancy-tenant, -account, -product, -region    whose request it is
    tenancy-at-least    the version of the context that was decided on: the upstream works on none that is older
    authorization       the edge's service token; its audience is the product, its `tenant` the tenant
    cookie              without the session's
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from access.edge.authorizer import Passed
from tenantry_client.asap.signer import Signer

OUR_HEADERS: Final = ("tenancy-tenant", "tenancy-account", "tenancy-product", "tenancy-region", "tenancy-at-least")
"""What the authorizer tells the upstream, and nobody else may."""

OUR_PREFIX: Final = "tenancy-"
REPLACED: Final = ("authorization", "cookie")
"""What the user sent and the upstream gets another one of, or none."""

TO_REMOVE: Final = "x-envoy-auth-headers-to-remove"
"""By which Envoy is told what to take out. nginx takes out what is not in the answer."""

_NAMES: Final = [name.encode() for name in OUR_HEADERS]


@lru_cache(maxsize=8_192)
def _names_and_values(passed: Passed) -> tuple[tuple[bytes, bytes], ...]:
    values = (passed.tenant_id, passed.account_id, passed.product, passed.region, str(passed.version))
    return tuple((name, value.encode()) for name, value in zip(_NAMES, values, strict=True))


@lru_cache(maxsize=8_192)
def _bearer(token: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + token.encode()


class UpstreamHeaders:
    """Makes the headers. Without a signer nothing proves to the upstream that they are the edge's."""

    def __init__(self, signer: Signer | None = None) -> None:
        self._signer = signer

    def of(self, passed: Passed, *, cookies: bytes) -> list[tuple[bytes, bytes]]:
        """For a request that passed; `cookies` are those that are not ours."""
        headers = [*_names_and_values(passed)]
        removed = []
        if self._signer is not None:
            token = self._signer.token(passed.product, tenant=passed.tenant_id)
            headers.append(_bearer(token))
        else:
            removed.append(b"authorization")
        if cookies:
            headers.append((b"cookie", cookies))
        else:
            removed.append(b"cookie")
        if removed:
            headers.append((TO_REMOVE.encode(), b",".join(removed)))
        return headers
