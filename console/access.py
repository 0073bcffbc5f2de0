"""Access to the console: who asks, what they may do, and whether a form is their own.

    loopback     a random token, printed with the address; the browser keeps it in a cookie that scripts cannot read.
                 Who has it has every role: it is the terminal's user
    proxy        headers with the name and the groups, believed from the named addresses alone; groups give the roles

A form counts where the browser says that it came from the console's own pages (`Sec-Fetch-Site`, or `Origin` where that
is missing), and where it carries the session's own token.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

from domain.errors import TenantryError, UsageError, problem

Role = Literal["viewer", "operator", "approver"]

COOKIE: Final = "tenantry_console"
LONGEST_NAME: Final = 200


class Refusal(TenantryError):
    """The request is refused; `status` is HTTP's."""

    def __init__(self, status: int, code: str, /, **data: object) -> None:
        super().__init__(problem(code, **data))
        self.status = status


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks. `issuer` is the authority for `subject`: the host of the terminal, or the proxy's provider."""

    subject: str
    issuer: str
    roles: frozenset[Role]

    def __str__(self) -> str:
        return f"{self.subject}@{self.issuer}"

    def must_be(self, role: Role) -> None:
        """Raises Refusal where the person does not have the role."""
        if role not in self.roles:
            raise Refusal(403, "console-role-missing", subject=self.subject, role=role, name=role.upper())


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whose headers count, and what they are called; `groups` name those that give each role."""

    networks: Sequence[IPv4Network | IPv6Network] = ()
    user_header: str = "x-forwarded-user"
    groups_header: str = "x-forwarded-groups"
    issuer: str = "proxy"
    groups: Mapping[Role, frozenset[str]] = field(default_factory=dict)

    def trusts(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one console. `secret` makes the tokens of forms; `hosts` are the names by which it is reached."""

    secret: bytes = field(repr=False)
    token: str | None = field(repr=False)
    account: str
    hosts: frozenset[str] = frozenset()
    proxies: Proxies = Proxies()

    def person(self, headers: Mapping[str, str], peer: str) -> Person:
        """Raises Refusal where nobody is known, or the console is asked by a name that is not its own."""
        self._check_host(headers.get("host", ""))
        if self.proxies.trusts(peer) and (subject := headers.get(self.proxies.user_header, "").strip()):
            return self._of_proxy(subject[:LONGEST_NAME], headers.get(self.proxies.groups_header, ""))
        if self.token is not None and hmac.compare_digest(_cookie(headers.get("cookie", "")), self.token):
            subject, _, issuer = self.account.rpartition("@")
            return Person(subject, issuer, frozenset({"viewer", "operator", "approver"}))
        raise Refusal(401, "console-unauthenticated")

    def is_token(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def form_token(self, person: Person) -> str:
        """What each form of the person's pages carries."""
        return hmac.new(self.secret, str(person).encode(), "sha256").hexdigest()

    def check_form(self, headers: Mapping[str, str], person: Person, token: str) -> None:
        """Raises Refusal where the form may have been made by another site."""
        site = headers.get("sec-fetch-site")
        if site is None:
            origin = urlsplit(headers.get("origin", ""))
            site = "same-origin" if origin.netloc and origin.netloc == headers.get("host") else "unknown"
        if site != "same-origin":
            raise Refusal(403, "console-cross-site")
        if not hmac.compare_digest(token.encode(), self.form_token(person).encode()):
            raise Refusal(403, "console-form-stale")

    def _of_proxy(self, subject: str, groups: str) -> Person:
        named = {each.strip() for each in groups.split(",")}
        roles: set[Role] = {role for role, giving in self.proxies.groups.items() if named & giving}
        if not roles:
            raise Refusal(403, "console-role-missing", subject=subject, role="viewer", name="VIEWER")
        return Person(subject, self.proxies.issuer, frozenset(roles | {"viewer"}))

    def _check_host(self, host: str) -> None:
        """A page of another site whose name leads to this address must not read the console."""
        if self.hosts and (urlsplit(f"//{host}").hostname or "") not in self.hosts:
            raise Refusal(421, "console-host-unknown", host=host[:LONGEST_NAME])


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None and found.value.isascii() else ""


def known(name: str, value: str | None, values: Sequence[str]) -> str | None:
    """The value where it is one of those, None for none; raises UsageError otherwise."""
    if value and value not in values:
        raise UsageError(
            problem("console-value-unknown", value=value[:LONGEST_NAME], name=name, known=", ".join(values))
        )
    return value or None
