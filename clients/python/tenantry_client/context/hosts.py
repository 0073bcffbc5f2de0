"""The rule for host names: one spelling for each host, or a refusal.

    ACME.Example:443   acme.example.   müller.example        one form: acme.example, xn--mller-kva.example
    [::1]   a..b   a_b.example   acme.example:x   bytes      refused: no name that a site can have

Capitals, a port and one trailing dot are taken off. A name outside ASCII is encoded as browsers do it (UTS 46, not
transitional), so that two names that look alike and are different stay different.
"""

from __future__ import annotations

import re
from typing import Final

import idna

from tenantry_client.context.refusals import ContextRefused

MAX_LENGTH: Final = 253

_PORT: Final = re.compile(r":\d{1,5}\Z", re.ASCII)
_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)


def normal_host(host: str) -> str:
    """The one spelling of a host. Raises ContextRefused (`host-invalid`, 400)."""
    name = _PORT.sub("", host, count=1).removesuffix(".")
    if len(name) > MAX_LENGTH:
        raise _invalid()
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True, std3_rules=True).decode()
        except (idna.IDNAError, UnicodeError):
            raise _invalid() from None
    name = name.lower()
    if len(name) > MAX_LENGTH or not _NAME.fullmatch(name):
        raise _invalid()
    return name


def host_of(headers: list[tuple[bytes, bytes]]) -> str:
    """The `Host` of a request as it was sent. Raises ContextRefused where there is none, or more than one."""
    found = [value for name, value in headers if name == b"host"]
    if len(found) != 1 or not found[0].isascii():
        raise _invalid()
    return found[0].decode()


def _invalid() -> ContextRefused:
    return ContextRefused("host-invalid", "the host is no host name: send one name, as it stands in the address")
