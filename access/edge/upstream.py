"""Headers for the upstream: what the authorizer says of a request that passed, and what it takes out of it.

They count only beside the edge's own token, which replaces what the user sent:

    tenancy-tenant, -account, -product, -region    whose request it is
    tenancy-at-least    the version of the context that was decided on: the upstream works on none that is older
    authorization       the edge's service token; its audience is the product, its `tenant` the tenant
    cookie              without the session's
"""

from __future__ import annotations

from collections.abc import Sequence
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


_EMPTY: Final = (b"content-length", b"0")
REMEMBERED: Final = 16_384
"""Answers that are remembered whole: a user asks again with the same cookies, and a token serves for half a minute."""


class UpstreamHeaders:
    """Makes the headers of an answer. Without a signer nothing proves to the upstream that they are the edge's."""

    def __init__(self, signer: Signer | None = None) -> None:
        self._signer = signer

    def of(self, passed: Passed, *, cookies: bytes) -> Sequence[tuple[bytes, bytes]]:
        """For a request that passed; `cookies` are those that are not ours."""
        token = None if self._signer is None else self._signer.token(passed.product, tenant=passed.tenant_id)
        return _headers(passed, token, cookies)


@lru_cache(maxsize=REMEMBERED)
def _headers(passed: Passed, token: str | None, cookies: bytes) -> Sequence[tuple[bytes, bytes]]:
    values = (passed.tenant_id, passed.account_id, passed.product, passed.region, str(passed.version))
    headers = [_EMPTY, *((name, value.encode()) for name, value in zip(_NAMES, values, strict=True))]
    removed = []
    if token is not None:
        headers.append((b"authorization", b"Bearer " + token.encode()))
    else:
        removed.append(b"authorization")
    if cookies:
        headers.append((b"cookie", cookies))
    else:
        removed.append(b"cookie")
    if removed:
        headers.append((TO_REMOVE.encode(), b",".join(removed)))
    return tuple(headers)
