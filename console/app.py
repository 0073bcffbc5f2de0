"""The console's HTTP: pages and their JSON, forms of acts, the live stream, files of the browser; by ASGI."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from application.problem_texts import sentence
from console import acts
from console.access import Access, Person, Refusal
from console.desks import Desks, ReadingDesk
from console.gate import Gate, body_of, headers_of
from console.live import Live
from console.page import Ask, ConsolePage
from console.rendering import AGAIN_SECONDS, Renderer
from domain.errors import TenantryError, Unavailable, UsageError
from runtime import faults

MakePage = Callable[[ReadingDesk, Ask], ConsolePage]

UNKNOWN: Final = frozenset({"tenant-unknown", "console-page-unknown", "tenant-without-messages"})
"""Codes of errors that mean: there is no such page."""

TYPES: Final = {"js": "text/javascript", "css": "text/css", "json": "application/json", "svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Console:
    """What the routes share."""

    access: Access
    desks: Desks
    live: Live
    renderer: Renderer

    def app(self, pages: Sequence[tuple[str, MakePage]]) -> ASGIApp:
        """The whole application; `pages` by their paths."""
        routes: list[BaseRoute] = [
            Route("/static/{name}", _static, methods=["GET"]),
            Route("/events", self.live.stream, methods=["GET"]),
            Route("/act/{kind}", self._act, methods=["POST"]),
        ]
        for path, page in pages:
            twin = "/now.json" if path == "/" else f"{path}.json"
            routes.append(Route(twin, partial(self._page, page=page, as_json=True), methods=["GET"]))
            routes.append(Route(path, partial(self._page, page=page, as_json=False), methods=["GET"]))
        inner = Starlette(routes=routes, exception_handlers={404: self._unknown})
        return Gate(inner, self.access, self._refused)

    async def _page(self, request: Request, *, page: MakePage, as_json: bool) -> Response:
        began = time.perf_counter()
        person: Person = request.state.person
        query = request.query_params
        ask = Ask(_path(request, as_json=as_json), request.path_params, dict(query), query.multi_items())

        def made(desk: ReadingDesk) -> Response:
            found = page(desk, ask)
            return self.renderer.json(found) if as_json else self.renderer.html(found, ask, person)

        try:
            person.must_be("viewer")
            response = await self.desks.read(made)
        except Exception as error:  # noqa: BLE001 - one page that is wrong leaves the others
            response = self._failed(error, as_json=as_json, again=True)
        response.headers["server-timing"] = f"page;dur={(time.perf_counter() - began) * 1000:.1f}"
        return response

    async def _act(self, request: Request) -> Response:
        person: Person = request.state.person
        as_json = "application/json" in request.headers.get("accept", "")
        try:
            act = acts.named(request.path_params["kind"])
            person.must_be(act.role)
            form = parse_qs((await body_of(request.receive)).decode("utf-8", "replace"), max_num_fields=5_000)
            self.access.check_form(headers_of(request.scope), person, form.get("form_token", [""])[0])
            found = await self.desks.act(lambda parts: act.carry_out(parts, form, person))
        except Exception as error:  # noqa: BLE001
            return self._failed(error, as_json=as_json)
        if as_json:
            return self.renderer.json(ConsolePage("", "", found.data, found.command))
        return RedirectResponse(found.address, 303)

    def _failed(self, error: Exception, *, as_json: bool, again: bool = False) -> Response:
        """The answer of an error; `again`: its page asks for itself again, where the database does not answer."""
        problem = error.problem if isinstance(error, TenantryError) else None
        code = problem.code if problem is not None else "error"
        match error:
            case Refusal():
                status = error.status
            case UsageError():
                status = 404 if code in UNKNOWN else 400
            case Unavailable():
                status = 503
            case TenantryError():
                status = 409
            case _:
                status, code = 500, "internal-error"
        text = sentence(error) if isinstance(error, TenantryError) else faults.tell(error)
        data: dict[str, Any] = dict(problem.data) if problem is not None else {}
        answer = self.renderer.error(status, code, text, data, as_json=as_json, again=again and status == 503)
        if status == 503:
            answer.headers["retry-after"] = str(AGAIN_SECONDS)
        return answer

    def _refused(self, scope: Scope, refusal: Refusal) -> Response:
        return self._failed(refusal, as_json=scope["path"].endswith(".json"))

    async def _unknown(self, request: Request, _: Exception) -> Response:
        path = request.url.path
        return self._failed(Refusal(404, "console-page-unknown", path=path[:200]), as_json=path.endswith(".json"))


def _path(request: Request, *, as_json: bool) -> str:
    path = request.url.path
    if not as_json:
        return path
    return "/" if path == "/now.json" else path.removesuffix(".json")


class _Static:
    """A file of the browser by its name, as it lies in the package."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path_params"]["name"]
        file = files("console") / "static" / name
        kind = TYPES.get(name.rpartition(".")[2])
        if kind is None or not file.is_file():
            await Response("", 404)(scope, receive, send)
            return
        await Response(file.read_bytes(), media_type=kind)(scope, receive, send)


_static = _Static()
