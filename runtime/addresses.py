"""Addresses in the settings: of PostgreSQL as a url, of Kafka as servers; a value that is wrong is never repeated."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Annotated

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, SecretStr


def _postgres_url(url: SecretStr) -> SecretStr:
    if not re.match(r"postgres(ql)?://", url.get_secret_value()):
        raise ValueError("write it as postgresql://user:password@host:port/database")
    try:
        conninfo_to_dict(url.get_secret_value())
    except (ProgrammingError, UnicodeError):  # its text quotes what cannot be read, which may be of a password
        is_readable = False
    else:
        is_readable = True
    if not is_readable:
        raise ValueError("it cannot be read: write a % in it as %25, @ as %40, / as %2F, : as %3A, # as %23, ? as %3F")
    return url


def _bootstrap(servers: str) -> str:
    """Without the blanks that people write behind a comma: Kafka's clients take them for a part of the name."""
    each = [server.strip() for server in servers.split(",")]
    if not all(map(_is_server, each)):
        raise ValueError(
            "write it as host:port, an IPv6 address in brackets as [::1]:9092, several with commas between them"
        )
    return ",".join(each)


def _is_server(text: str) -> bool:
    found = re.fullmatch(r"(?:\[(?P<address>[^\[\]%]+)\]|[^\s,:\[\]/@]+):(?P<port>[0-9]{1,5})", text)
    if found is None or not 0 < int(found["port"]) < 2**16:
        return False
    if found["address"] is None:
        return True
    try:
        IPv6Address(found["address"])
    except ValueError:
        return False
    return True


PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]
Bootstrap = Annotated[str, AfterValidator(_bootstrap)]


def _proxy(url: str) -> str:
    if not url.startswith("http://") or not _is_server(url.removeprefix("http://")):
        raise ValueError("write it as http://host:port, without user, password or path")
    return url


ProxyUrl = Annotated[str, AfterValidator(_proxy)]
