"""Process of the edge authorizer: its parts put together, served by uvicorn on this machine.

The tenant contexts are those that the sidecar keeps on this host, memberships are asked of the control database, keys
of sessions of their issuers. Nothing is asked before the first request needs it: a part that is away is a refusal.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from access.edge.app import EdgeApp
from access.edge.authorizer import Authorizer, Contexts
from access.edge.jwks import JwkSet, from_file, from_https
from access.edge.members import Members, Memberships
from access.edge.sessions import Issuer, SessionVerifier
from access.edge.settings import EdgeSettings, ServiceIdentity, SessionIssuer
from access.edge.upstream import UpstreamHeaders
from access.toml_file import split
from domain.errors import UsageError
from tenantry_client.asap.algorithms import UnusableKey
from tenantry_client.asap.refusals import Refused
from tenantry_client.asap.signer import Signer, SigningKey
from tenantry_client.context.tenancy import Tenancy


def edge_app(settings: EdgeSettings, *, tenancy: Tenancy, memberships: Memberships) -> EdgeApp:
    """The application. Raises UsageError where a key or an address in the settings cannot be used."""
    return EdgeApp(
        authorizer_of(settings, contexts=tenancy, memberships=memberships),
        _upstream_headers(settings.identity),
        cookie=settings.cookie,
        is_ready=lambda: tenancy.is_ready,
    )


def authorizer_of(settings: EdgeSettings, *, contexts: Contexts, memberships: Memberships) -> Authorizer:
    return Authorizer(
        contexts=contexts,
        sessions=SessionVerifier([Issuer(each, _keys(each)) for each in settings.session]),
        members=Members(memberships, max_age=settings.authorizer.membership_seconds),
        products=settings.products_by_prefix(),
        regions=frozenset(each.name for each in settings.region),
    )


def serve(app: Any, address: str) -> None:
    """Answer until SIGTERM. Raises UsageError where uvicorn is not installed."""
    try:
        uvicorn = importlib.import_module("uvicorn")
    except ImportError:
        raise UsageError("uvicorn is not installed: pip install 'tenantry[edge]'") from None
    host, port = split(address)
    uvicorn.run(
        app, host=host, port=port, access_log=False, log_level="warning", server_header=False, date_header=False
    )


def _keys(issuer: SessionIssuer) -> JwkSet:
    if "://" not in issuer.jwks:
        return JwkSet(from_file(Path(issuer.jwks)))
    try:
        return JwkSet(from_https(issuer.jwks))
    except ValueError as error:
        raise UsageError(f"jwks of {issuer.issuer}: {error}, or a file") from None


def _upstream_headers(identity: ServiceIdentity | None) -> UpstreamHeaders:
    if identity is None:
        return UpstreamHeaders()
    try:
        key = SigningKey.read(identity.key_id, identity.private_key)
        return UpstreamHeaders(Signer(identity.issuer, key))
    except OSError as error:
        raise UsageError(f"{identity.private_key} cannot be read: {error.strerror}: correct private_key") from None
    except (UnusableKey, Refused) as error:
        raise UsageError(f"the edge's own key cannot be used: {error}") from None
