"""`egress.toml`: which service may reach which names outside, and which private networks a named upstream may be in.

    [[service]]
    name = "webhooks"
    listen = "127.0.0.1:15001"
    allow = ["hooks.example.com:443", "metrics.internal.example:8443"]

    [[upstream]]
    name = "metrics.internal.example:8443"
    cidrs = ["10.20.0.0/16"]

    [dns]
    resolvers = ["10.0.0.53:53"]

Default deny: a name that a service does not list is refused, and so is a name whose address is not public, unless
`[[upstream]]` lists the network. Names only: an address is no name, in whatever form it is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from access.toml_file import STRICT, Address, read_model

_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")


def _destination(text: str) -> str:
    host, colon, port = text.rpartition(":")
    labels = host.split(".")
    if not colon or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError("write it as name:port")
    if len(host) > 253 or len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)) or _NUMBER.fullmatch(labels[-1]):
        raise ValueError("the host is no DNS name in lower case: addresses are not allowed")
    return f"{host}:{int(port)}"


def _cidr(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError("write a network as 10.20.0.0/16, with no bits behind the prefix") from None


Destination = Annotated[str, AfterValidator(_destination)]
Cidr = Annotated[str, AfterValidator(_cidr)]


class EgressService(BaseModel):
    """One identity: who can connect to its listener has it."""

    model_config = STRICT
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    listen: Address
    allow: tuple[Destination, ...] = Field(min_length=1)


class EgressUpstream(BaseModel):
    """A name whose address may be in these networks, and nowhere else."""

    model_config = STRICT
    name: Destination
    cidrs: tuple[Cidr, ...] = Field(min_length=1)


class Dns(BaseModel):
    """Who is asked for addresses; nobody named: the servers of the machine."""

    model_config = STRICT
    resolvers: tuple[Address, ...] = ()


class EgressPolicy(BaseModel):
    """The whole file."""

    model_config = STRICT
    service: tuple[EgressService, ...] = Field(min_length=1)
    upstream: tuple[EgressUpstream, ...] = ()
    dns: Dns = Dns()

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for what, names in (
            ("services are named", [each.name for each in self.service]),
            ("services listen at", [each.listen for each in self.service]),
            ("upstreams are named", [each.name for each in self.upstream]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"two {what} {twice[0]}: make them differ")
        allowed = {name for each in self.service for name in each.allow}
        if unused := sorted({each.name for each in self.upstream} - allowed):
            raise ValueError(f"no service may reach upstream {unused[0]}: allow it, or take it out")
        return self

    @property
    def networks(self) -> Mapping[str, tuple[str, ...]]:
        """The networks of the named upstreams."""
        return {each.name: each.cidrs for each in self.upstream}


def read_egress(file: Path) -> EgressPolicy:
    """Raises UsageError with the first thing that is wrong."""
    return read_model(EgressPolicy, file)
