"""The allow-list: which service may call which, with which commands and on which routes. Default deny.

    [[allow]]
    caller = "billing"
    callee = "context-service"
    routes = ["GET /v1/tenants/{id}", "GET /v1/hosts/{host}"]

    [[allow]]
    caller = "support-console"
    callee = "engine"
    commands = ["runs.retry"]
    limit = {name = "support", per_second = 5, burst = 20}

The file is data that people review. It only allows, so the order of its lines has no meaning, and every call that it
does not name is refused. A stolen key can do what this file allows to its service, and no more. A `limit` bounds how
often: it is counted over all entries and processes that name it.
"""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tenantry_client.access.paths import AmbiguousPath, Template, segments
from tenantry_client.access.rates import Limit
from tenantry_client.access.watched_file import WatchedFile
from tenantry_client.asap.key_ids import check_name
from tenantry_client.asap.refusals import Refused

MOST_A_SECOND: Final = 100_000
_LIMIT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


class InvalidAllowList(ValueError):
    """The file cannot be used: which entry, what is wrong, what to write."""


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    template: Template

    def __str__(self) -> str:
        return f"{self.method} {self.template.text}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One `[[allow]]`; `number` counts from 1, `line` is where it stands in the file (0: unknown)."""

    number: int
    line: int
    caller: str
    callee: str
    routes: tuple[Route, ...]
    commands: frozenset[str]
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a call may pass. `reason` for people; `entry` and `allowed_by` name the entry that allows it."""

    allowed: bool
    reason: str
    entry: Entry | None = None
    allowed_by: str | None = None


class AllowList:
    """The entries, indexed by caller and callee."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)
        self._by_pair: dict[tuple[str, str], list[Entry]] = {}
        self.limits = {entry.limit.name: (entry.limit, entry.callee) for entry in self.entries if entry.limit}
        for entry in self.entries:
            self._by_pair.setdefault((entry.caller, entry.callee), []).append(entry)

    @classmethod
    def parse(cls, text: str, *, source: str = "access.toml") -> AllowList:
        """Raises InvalidAllowList with the first thing that is wrong."""
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidAllowList(f"{source}: not TOML: {error}") from None
        if unknown := content.keys() - {"allow"}:
            raise InvalidAllowList(f"{source}: {min(unknown)!r} is unknown: write [[allow]] entries")
        entries = content.get("allow", [])
        if not isinstance(entries, list):
            raise InvalidAllowList(f"{source}: write [[allow]] with double brackets")
        lines = [number for number, line in enumerate(text.splitlines(), start=1) if line.strip() == "[[allow]]"]
        at = dict(enumerate(lines, start=1)) if len(lines) == len(entries) else {}
        found = cls(_entry(each, n, line=at.get(n, 0), source=source) for n, each in enumerate(entries, start=1))
        for entry in found.entries:
            if entry.limit is not None and found.limits[entry.limit.name] != (entry.limit, entry.callee):
                raise InvalidAllowList(
                    f"{source}: entry {entry.number}: limit {entry.limit.name} is another one elsewhere"
                )
        return found

    @classmethod
    def read(cls, file: Path) -> AllowList:
        """Raises InvalidAllowList, OSError and UnicodeDecodeError."""
        return cls.parse(file.read_text("utf-8"), source=str(file))

    def knows(self, caller: str, *, callee: str) -> bool:
        """Whether the caller may call the callee at all: asked before any key is fetched."""
        return (caller, callee) in self._by_pair

    def route(self, caller: str, callee: str, method: str, raw_path: bytes) -> Answer:
        """Whether the request may pass."""
        try:
            path = segments(raw_path)
        except AmbiguousPath as error:
            return Answer(allowed=False, reason=f"{error}: send a plain path")
        found = self._by_pair.get((caller, callee), [])
        for entry in found:
            for route in entry.routes:
                if route.method == method and route.template.matches(path):
                    return _allowed(entry, str(route))
        return _denied(caller, callee, found, f"{method} on that path")

    def command(self, caller: str, callee: str, name: str) -> Answer:
        """Whether the command may be given."""
        found = self._by_pair.get((caller, callee), [])
        for entry in found:
            if name in entry.commands:
                return _allowed(entry, f"command {name}")
        return _denied(caller, callee, found, f"command {name}")


def _allowed(entry: Entry, by: str) -> Answer:
    where = f"entry {entry.number}" + (f" (line {entry.line})" if entry.line else "")
    return Answer(
        allowed=True, reason=f"{where} allows {entry.caller} -> {entry.callee}: {by}", entry=entry, allowed_by=by
    )


def _denied(caller: str, callee: str, found: list[Entry], what: str) -> Answer:
    if found:
        return Answer(allowed=False, reason=f"no entry allows {caller} -> {callee}: {what}")
    return Answer(allowed=False, reason=f"no entry allows {caller} to call {callee} at all")


def _entry(content: Any, number: int, *, line: int, source: str) -> Entry:
    place = f"{source}: entry {number}"
    if not isinstance(content, Mapping):
        raise InvalidAllowList(f"{place} is no table: write [[allow]]")
    if unknown := content.keys() - {"caller", "callee", "routes", "commands", "limit"}:
        raise InvalidAllowList(f"{place}: {min(unknown)!r} is unknown: write caller, callee, routes, commands, limit")
    caller, callee = (_name(content, key, place) for key in ("caller", "callee"))
    routes = tuple(_route(text, place) for text in _texts(content, "routes", place))
    commands = frozenset(_texts(content, "commands", place))
    if not routes and not commands:
        raise InvalidAllowList(f"{place} allows nothing: name routes or commands, or take it out")
    return Entry(number, line, caller, callee, routes, commands, _limit(content.get("limit"), place))


def _limit(content: Any, place: str) -> Limit | None:
    if content is None:
        return None
    if not isinstance(content, Mapping) or content.keys() != {"name", "per_second", "burst"}:
        raise InvalidAllowList(f"{place}: write limit = {{name = ..., per_second = ..., burst = ...}}")
    name, numbers = content["name"], (content["per_second"], content["burst"])
    if not isinstance(name, str) or _LIMIT_NAME.fullmatch(name) is None:
        raise InvalidAllowList(f"{place}: the limit's name is a-z, 0-9 and -, at most 64")
    if not all(type(each) is int and 1 <= each <= MOST_A_SECOND for each in numbers):
        raise InvalidAllowList(f"{place}: per_second and burst are whole numbers from 1 to {MOST_A_SECOND}")
    return Limit(name, *numbers)


def _name(content: Mapping[str, Any], key: str, place: str) -> str:
    try:
        return check_name(content.get(key), key)
    except Refused as error:
        raise InvalidAllowList(f"{place}: {error}") from None


def _texts(content: Mapping[str, Any], key: str, place: str) -> Iterator[str]:
    values = content.get(key, [])
    if not isinstance(values, list) or not all(isinstance(each, str) and each for each in values):
        raise InvalidAllowList(f"{place}: {key} is no list of texts")
    yield from values


def _route(text: str, place: str) -> Route:
    method, _, path = text.partition(" ")
    if method not in METHODS:
        raise InvalidAllowList(f"{place}: {text!r} does not begin with one of {', '.join(sorted(METHODS))}")
    try:
        return Route(method, Template.parse(path))
    except ValueError as error:
        raise InvalidAllowList(f"{place}: {error}") from None


class WatchedAllowList(WatchedFile[AllowList]):
    """The allow-list of a file, read again when the file changes. The first read raises what AllowList.read raises."""

    def __init__(self, file: Path, *, every: float = 1.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(file, AllowList.read, every=every, monotonic=monotonic)
