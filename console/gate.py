"""The gate before every page: bounds on what is sent, who asks, and the headers that keep other sites out.

Nothing behind it runs for a request that is too large, that comes from nobody, or that reaches the console by a name
which is not its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.access import COOKIE, Access, Refusal

LONGEST_QUERY: Final = 4_096
LARGEST_BODY: Final = 262_144

Refused = Callable[[Scope, Refusal], Response]

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


class Gate:
    """`refused` renders a refusal; the person who asks is in `scope["state"]["person"]` of what is let through."""

    def __init__(self, app: ASGIApp, access: Access, refused: Refused) -> None:
        self._app = app
        self._access = access
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        sending = _with_headers(scope, send)
        try:
            answer = self._let_in(scope)
        except Refusal as refusal:
            answer = self._refused(scope, refusal)
        if answer is not None:
            await answer(scope, receive, sending)
            return
        await self._app(scope, receive, sending)

    def _let_in(self, scope: Scope) -> Response | None:
        """None where the request goes on. Raises Refusal."""
        if len(scope["query_string"]) > LONGEST_QUERY:
            raise Refusal(414, "console-query-too-long", most=LONGEST_QUERY)
        headers = headers_of(scope)
        if int(headers.get("content-length") or 0) > LARGEST_BODY:
            raise Refusal(413, "console-body-too-large", most=LARGEST_BODY)
        query = parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=100)
        given = next((value for name, value in query if name == "token"), None)
        if given is not None and scope["method"] == "GET" and self._access.is_token(given):
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            answer = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(COOKIE, given, httponly=True, samesite="strict", path="/")
            return answer
        if scope["path"].startswith("/static/"):
            return None
        peer = scope["client"][0] if scope.get("client") else ""
        scope.setdefault("state", {})["person"] = self._access.person(headers, peer)
        return None


def headers_of(scope: Scope) -> dict[str, str]:
    """By lower-case name; of a header that came twice, the first, joined by a comma with the others."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]},{text}" if key in found else text
    return found


async def body_of(receive: Receive) -> bytes:
    """The whole body. Raises Refusal where it is larger than LARGEST_BODY."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise Refusal(413, "console-body-too-large", most=LARGEST_BODY)
        if not message.get("more_body", False):
            return bytes(body)


def _with_headers(scope: Scope, send: Send) -> Send:
    kept = b"public, max-age=86400" if scope["path"].startswith("/static/") else b"no-store"

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *HEADERS, (b"cache-control", kept)]}
        await send(message)

    return sending
