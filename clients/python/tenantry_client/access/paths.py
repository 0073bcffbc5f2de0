"""Raw request paths and route templates: read in one way only, or refused.

A proxy and an application may read `%2f`, `//`, `..` or `;` in two ways, and an allow-list between them is worth
nothing. So a raw path that holds one of them is refused before it is matched.

    /v1/tenants/{id}        one segment of at least one character
    /v1/files/{rest...}     the rest of the path, one segment or more; at the end only
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

MAX_PATH: Final = 2048

_PLAIN: Final = re.compile(rb"(?:[!\"$&-:<->@-\[\]-~]|%[0-9A-Fa-f]{2})+")
_SEPARATORS: Final = frozenset("/\\;?#%")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._~@:+,=-]+")  # no *: it would look like a wildcard but not be one
_NAME: Final = re.compile(r"\{([a-z][a-z0-9_]*)(\.\.\.)?\}")


class AmbiguousPath(ValueError):
    """A raw path that two readers could take for two paths. The text does not repeat it."""


def segments(raw: bytes) -> tuple[str, ...]:
    """The decoded segments of a raw path (without its query). Raises AmbiguousPath."""
    if not raw.startswith(b"/") or len(raw) > MAX_PATH:
        raise AmbiguousPath(f"the path does not begin with /, or is longer than {MAX_PATH} bytes")
    if not _PLAIN.fullmatch(raw):
        raise AmbiguousPath(
            "the path holds ; ? # a backslash, a byte that is not printable ASCII, or a % that escapes nothing"
        )
    return () if raw == b"/" else tuple(_segment(part) for part in raw[1:].split(b"/"))


def _segment(part: bytes) -> str:
    if not part:
        raise AmbiguousPath("the path holds //, or ends with /")
    try:
        text = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise AmbiguousPath("the path is not UTF-8") from None
    if not _SEPARATORS.isdisjoint(text) or not text.isprintable():
        raise AmbiguousPath("the path holds an escaped / ; ? # %, backslash or control character")
    if text in (".", ".."):
        raise AmbiguousPath("the path holds . or .. as a part")
    return text


@dataclass(frozen=True, slots=True)
class Template:
    """A route template. `parts`: a text for a fixed segment, None for one that may be anything."""

    text: str
    parts: tuple[str | None, ...]
    takes_rest: bool

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises ValueError that says what is wrong."""
        if not text.startswith("/"):
            raise ValueError(f"route {text!r} does not begin with /")
        if text == "/":
            return cls(text, (), takes_rest=False)
        parts: list[str | None] = []
        takes_rest = False
        for part in text[1:].split("/"):
            if takes_rest:
                raise ValueError(f"route {text!r}: {{...}} of the rest stands at the end")
            name = _NAME.fullmatch(part)
            if name is not None:
                parts.append(None)
                takes_rest = name.group(2) is not None
            elif _SEGMENT.fullmatch(part) and part not in (".", ".."):
                parts.append(part)
            else:
                raise ValueError(f"route {text!r}: {part!r} is neither a plain segment nor {{name}}")
        return cls(text, tuple(parts), takes_rest)

    def matches(self, path: tuple[str, ...]) -> bool:
        """Whether a path in segments is one of this route's."""
        if len(path) < len(self.parts) or (len(path) > len(self.parts) and not self.takes_rest):
            return False
        return all(part is None or part == segment for part, segment in zip(self.parts, path, strict=False))
