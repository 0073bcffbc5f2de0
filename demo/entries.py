"""File of the demo's stream: one whole message a line, as JSON.

The oracle works from this file only.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One message for Kafka, and the wave it belongs to. `value` is None for a tombstone."""

    wave: int
    topic: str
    key: str | None
    headers: tuple[tuple[str, str], ...]
    value: bytes | None

    def to_line(self) -> str:
        """One line of JSON; a value that is not UTF-8 stands in it as base64."""
        fields: dict[str, Any] = {"wave": self.wave, "topic": self.topic, "key": self.key, "headers": self.headers}
        try:
            fields["value"] = None if self.value is None else self.value.decode()
        except UnicodeDecodeError:
            fields["value_base64"] = base64.b64encode(self.value or b"").decode()
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> Entry:
        fields = json.loads(line)
        text, packed = fields.get("value"), fields.get("value_base64")
        value = base64.b64decode(packed) if packed is not None else None if text is None else text.encode()
        headers = tuple((name, content) for name, content in fields["headers"])
        return cls(fields["wave"], fields["topic"], fields["key"], headers, value)


def write(entries: Iterable[Entry], path: Path) -> None:
    """Write the stream as a file of lines that only its owner can read: it contains names and addresses."""
    path.touch(mode=0o600)
    path.write_text("".join(f"{entry.to_line()}\n" for entry in entries))


def read(path: Path) -> list[Entry]:
    return [Entry.from_line(line) for line in path.read_text().split("\n") if line.strip()]
