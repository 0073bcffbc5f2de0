"""The decision of the edge: may this request pass, as whom, and to which region?

    one meaning? ─▶ host ─▶ tenant context, under a lease ─▶ path ─▶ product, open? ─▶ region, served here?
                                                                                          │
                        headers for the upstream ◀─ member of that product? ◀─ session ◀──┘

`at_once` decides without any I/O and is what nearly every request needs. Where a session or a membership is not
remembered it answers None, and `decide` does the same with looking, in a thread. Everything that cannot be told is a
refusal: no lease, no keys, no database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from access.edge.members import Members
from access.edge.refusals import EdgeRefused
from access.edge.sessions import Place, SessionVerifier, UserSession
from domain.errors import TenantryError
from tenantry_client.access.paths import AmbiguousPath, segments
from tenantry_client.context.document import TenantContext
from tenantry_client.context.refusals import ContextRefused

PLACES: Final = 100_000
PATHS: Final = 8_192
"""Paths whose product is remembered: most requests ask for the same ones."""


class Contexts(Protocol):
    """Tenant contexts, as `tenantry_client.context.tenancy.Tenancy` has them."""

    def by_host(self, host: str, at_least: int = 0) -> TenantContext:
        """Raises ContextRefused: the host is unknown (404), or nobody can tell (503)."""


class Question(NamedTuple):
    """A request from outside. `path` is raw and without its query; `token` is the session's, None where none came."""

    host: str
    path: bytes
    token: str | None
    place: Place


class Passed(NamedTuple):
    """The request may pass, with these headers."""

    tenant_id: str
    account_id: str
    product: str
    region: str
    version: int


class _Place(NamedTuple):
    """What was found for a host and a product, while the very same document is answered and no license has expired."""

    context: TenantContext
    until: float
    place: Passed


class Authorizer:
    """Decides. Safe for threads."""

    def __init__(
        self,
        *,
        contexts: Contexts,
        sessions: SessionVerifier,
        members: Members,
        products: Mapping[tuple[str, ...], str],
        regions: frozenset[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`products` by the segments of their prefix; `regions` are those with upstreams here."""
        self._contexts = contexts
        self._sessions = sessions
        self._members = members
        self._products = products
        self._depth = max(map(len, products))
        self._regions = regions
        self._clock = clock
        self._product = lru_cache(maxsize=PATHS)(self._read_product)
        self._places: dict[tuple[str, str], _Place] = {}

    def at_once(self, question: Question) -> Passed | None:
        """The decision where nothing has to be asked, else None. Raises EdgeRefused."""
        place = self._placed(question)
        if question.token is None:
            raise EdgeRefused("session-missing", "the request carries no session: sign in")
        session = self._sessions.remembered(question.token, question.place)
        if session is None:
            return None
        is_member = self._members.remembered(place.tenant_id, place.product, session.account_id)
        return None if is_member is None else _passed(place, session, is_member)

    def decide(self, question: Question) -> Passed:
        """The same, and what is not known is asked for: keys of issuers, the database. Raises EdgeRefused."""
        place = self._placed(question)
        if question.token is None:
            raise EdgeRefused("session-missing", "the request carries no session: sign in")
        session = self._sessions.verify(question.token, question.place)
        is_member = self._members.remembered(place.tenant_id, place.product, session.account_id)
        if is_member is None:
            try:
                is_member = self._members.find(place.tenant_id, place.product, session.account_id)
            except TenantryError as error:
                raise EdgeRefused("membership-unavailable", f"nobody can tell who is a member: {error}") from None
        return _passed(self._placed(question), session, is_member)  # the tenant may have been closed meanwhile

    def _placed(self, question: Question) -> Passed:
        """Tenant, product and region; nobody's account yet. Raises EdgeRefused."""
        product, host = self._product(question.path), question.host
        try:
            context = self._contexts.by_host(host)
            known = self._places.get((host, product))
            if known is not None and known.context is context and self._clock() < known.until:
                return known.place
            found = context.require(product=product, now=self._clock())
            region = context.placement(product).region
        except ContextRefused as refused:
            raise EdgeRefused(refused.code, str(refused), status=refused.status) from None
        if region not in self._regions:
            raise EdgeRefused("region-not-served", "the tenant lives in a region that this edge does not serve")
        place = Passed(context.tenant_id, "", product, region, context.version)
        if len(self._places) >= PLACES:
            self._places.pop(next(iter(self._places)), None)
        until = float("inf") if found.expires_at is None else found.expires_at
        self._places[host, product] = _Place(context, until, place)
        return place

    def _read_product(self, raw: bytes) -> str:
        try:
            path = segments(raw[:-1] if raw.endswith(b"/") and raw != b"/" else raw)
        except AmbiguousPath as error:
            raise EdgeRefused("request-ambiguous", f"{error}: send a plain path") from None
        for length in range(min(self._depth, len(path)), -1, -1):
            if (product := self._products.get(path[:length])) is not None:
                return product
        raise EdgeRefused("product-unknown", "no product is under that path")


def _passed(place: Passed, session: UserSession, is_member: bool) -> Passed:
    if not is_member:
        raise EdgeRefused("not-a-member", "the account is no member of the tenant's product")
    return Passed(place.tenant_id, session.account_id, place.product, place.region, place.version)
