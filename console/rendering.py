"""Rendering of pages: HTML by Jinja's templates, or the page's data as one line of JSON; and the errors of both.

Every text that comes from outside is escaped, and characters that are not seen are shown as `visible` shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from adapters.postgres.console_reads import COUNTED
from console.access import Person
from console.page import Ask, ConsolePage
from domain.times import age, clock, in_utc
from runtime.foreign_text import json_text, visible

NAV: Final = (
    ("/", "Now", "n"),
    ("/tenants", "Tenants", "t"),
    ("/plans", "Plans", "p"),
    ("/quarantine", "Quarantine", "q"),
    ("/acts", "Acts", "a"),
    ("/health", "Health", "h"),
    ("/search", "Search", "s"),
)
"""The address of each page, its name, and the key that follows `g`."""

AGAIN_SECONDS: Final = 5
"""After which a page is asked for again that the database did not answer."""


class Renderer:
    """`form_token` makes what a form of the person's pages carries."""

    def __init__(self, form_token: Callable[[Person], str]) -> None:
        self._form_token = form_token
        self._templates = Environment(
            loader=FunctionLoader(_template),
            autoescape=True,
            finalize=_shown,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(clock=_clock, age=age, since=_since, words=_words, iso=_iso, json_text=json_text)
        self._templates.filters["counted"] = _counted

    def html(self, page: ConsolePage, ask: Ask, person: Person, *, status: int = 200) -> Response:
        text = self._templates.get_template(f"{page.name}.html").render(
            page=page,
            ask=ask,
            person=person,
            nav=NAV,
            form_token=self._form_token(person),
            twin=_twin(ask),
            **page.extra,
            **page.data,
        )
        return Response(text, status, media_type="text/html")

    def json(self, page: ConsolePage, *, status: int = 200) -> Response:
        data = {**page.data, "command": page.command}
        return Response(json_text(data) + "\n", status, media_type="application/json")

    def error(
        self, status: int, code: str, text: str, data: Mapping[str, Any], *, as_json: bool, again: bool
    ) -> Response:
        """`again`: the page asks for itself again after AGAIN_SECONDS."""
        if as_json:
            body = json_text({"error": code, "data": dict(data), "text": text})
            return Response(body + "\n", status, media_type="application/json")
        rendered = self._templates.get_template("error.html").render(
            status=status, code=code, text=text, again=AGAIN_SECONDS if again else None
        )
        return Response(rendered, status, media_type="text/html")


def _template(name: str) -> str | None:
    file = files("console") / "templates" / name
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _twin(ask: Ask) -> str:
    path, _, query = ask.address().partition("?")
    return f"{'/now' if path == '/' else path}.json" + (f"?{query}" if query else "")


def _shown(value: object) -> object:
    """A value in a template: a dash for none, a time as a clock shows it, foreign text made visible."""
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return _clock(value)
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def _clock(value: datetime | str | None) -> str:
    """`2026-06-01 12:30:00`, UTC."""
    if value is None:
        return "–"
    return clock(datetime.fromisoformat(value) if isinstance(value, str) else value)[:19]


def _iso(value: datetime | str) -> str:
    return in_utc(value).isoformat() if isinstance(value, datetime) else value


def _since(value: datetime | str | None) -> str:
    """How long ago, or how far ahead: `3 min`."""
    if value is None:
        return "–"
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return age(abs((datetime.now(UTC) - in_utc(time)).total_seconds()))


def _words(value: object) -> str:
    return str(value).replace("_", " ")


def _counted(number: int) -> int | str:
    """A number that was counted up to COUNTED and one."""
    return number if number <= COUNTED else f"more than {COUNTED:,}"
