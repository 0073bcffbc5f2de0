"""`edge.toml`: where the edge listens, whom it believes, which products are under which paths, and where regions are.

One file for both halves: the proxy's configuration is written from it, and the authorizer reads it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from access.toml_file import STRICT, Address, read_model, split
from domain.errors import UsageError
from tenantry_client.access.paths import Template

_REGION: Final = r"^[a-z][a-z0-9-]{0,30}$"
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    host = split(address)[0]
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _on_this_machine(address: str) -> str:
    if not is_loopback(address):
        raise ValueError("the authorizer and its proxy are on one machine: write 127.0.0.1:port")
    return address


def _prefix(text: str) -> str:
    template = Template.parse(text)
    if template.takes_rest or None in template.parts:
        raise ValueError("a prefix is a plain path such as /wiki")
    return text


def _quotable(path: Path) -> Path:
    if re.search(r"[\s;{}\"'\\$#]", str(path)):
        raise ValueError("the path holds a blank, a quote or one of ; { } $ # which nginx would read otherwise")
    return path


File = Annotated[Path, AfterValidator(_quotable)]
ServerName = Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$")]


class Listen(BaseModel):
    """Where browsers come in. Without TLS on this machine only."""

    model_config = STRICT
    address: Address
    certificate: File | None = None
    key: File | None = None

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("name certificate and key, or none of them")
        if self.certificate is None and not is_loopback(self.address):
            raise ValueError("without TLS the edge listens at 127.0.0.1 only: name certificate and key")
        return self


class AuthorizerSettings(BaseModel):
    """The authorizer, beside its proxy. `membership_seconds`: how old the answer about a member may be."""

    model_config = STRICT
    address: Annotated[Address, AfterValidator(_on_this_machine)] = "127.0.0.1:9191"
    timeout_milliseconds: int = Field(default=250, ge=10, le=5_000)
    membership_seconds: float = Field(default=30.0, gt=0, le=30)


class Region(BaseModel):
    """The upstreams of one region; with `ca` they are reached by TLS, under the name `server_name`."""

    model_config = STRICT
    name: str = Field(pattern=_REGION)
    upstreams: tuple[Address, ...] = Field(min_length=1)
    ca: File | None = None
    server_name: ServerName | None = None

    @model_validator(mode="after")
    def _certified(self) -> Self:
        if (self.ca is None) != (self.server_name is None):
            raise ValueError("name ca and server_name, or none of them")
        return self


class ProductRoute(BaseModel):
    """Paths that begin so belong to that product."""

    model_config = STRICT
    prefix: Annotated[str, AfterValidator(_prefix)]
    product: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")


class SessionIssuer(BaseModel):
    """Whose sessions count: `iss` and `aud` of its tokens, and its keys as a JWK set, by HTTPS or in a file."""

    model_config = STRICT
    issuer: str = Field(min_length=1, max_length=256)
    audience: str = Field(min_length=1, max_length=256)
    jwks: str
    carried_in: Literal["authorization", "cookie"]
    longest_seconds: int = Field(default=43_200, ge=60, le=2_592_000)


class ServiceIdentity(BaseModel):
    """As which service the edge calls upstreams: each request carries a token of it, for that product and tenant."""

    model_config = STRICT
    issuer: str
    key_id: str
    private_key: Path


class RequestLimits(BaseModel):
    """Requests a second: of one client address, and of all together."""

    model_config = STRICT
    client_per_second: int = Field(default=50, ge=1)
    client_burst: int = Field(default=200, ge=1)
    total_per_second: int = Field(default=20_000, ge=1)


class EdgeSettings(BaseModel):
    """The whole file."""

    model_config = STRICT
    listen: Listen
    authorizer: AuthorizerSettings = AuthorizerSettings()
    region: tuple[Region, ...] = Field(min_length=1)
    product: tuple[ProductRoute, ...] = Field(min_length=1)
    session: tuple[SessionIssuer, ...] = Field(min_length=1)
    identity: ServiceIdentity | None = None
    limits: RequestLimits = RequestLimits()
    cookie: str = Field(default="__Host-session", pattern=_COOKIE.pattern)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for what, names in (
            ("regions are named", [each.name for each in self.region]),
            ("products have the prefix", [each.prefix for each in self.product]),
            ("sessions are issued by", [each.issuer for each in self.session]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"two {what} {twice[0]}: make them differ")
        return self

    def check_topology(self, regions: Collection[str]) -> None:
        """Every region that is named is one of the topology. Raises UsageError."""
        if unknown := sorted({each.name for each in self.region} - set(regions)):
            known = ", ".join(sorted(regions))
            raise UsageError(f"region {unknown[0]} has no shard: name one of {known}, or add the shard to the settings")

    def products_by_prefix(self) -> Mapping[tuple[str, ...], str]:
        """The products by the segments of their prefix."""
        return {tuple(filter(None, each.prefix.split("/"))): each.product for each in self.product}


def read_edge(file: Path) -> EdgeSettings:
    """Raises UsageError with the first thing that is wrong."""
    return read_model(EdgeSettings, file)
