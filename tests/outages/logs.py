"""What the workers' logs say of an outage: no traceback, and one line a change of state."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

LINES_A_STATE_CHANGE: Final = 1
STATE_CHANGES: Final = 2
"""Of a steady outage: it is away, it is back."""


class LogWatch:
    """What was written to the files since this was made."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._begun = {path: path.stat().st_size if path.exists() else 0 for path in files}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name of the file, line."""
        for path in self._files:
            if path.exists():
                with path.open("rb") as file:
                    file.seek(self._begun[path])
                    text = file.read().decode(errors="replace")
                yield from ((path.name, line) for line in text.splitlines() if line.strip())

    def faults(self, *, flaps: bool, seconds: float) -> list[str]:
        """What should not be there. An outage that flaps changes its state up to twice a second."""
        allowed = STATE_CHANGES if not flaps else max(STATE_CHANGES, int(2 * seconds))
        said: Counter[tuple[str, str]] = Counter()
        strays: dict[str, list[str]] = {}
        made = []
        for name, line in self.lines():
            entry = _parsed(line)
            if entry is None:
                strays.setdefault(name, []).append(line)
                continue
            if "exception" in entry or "Traceback" in line:
                made.append(f"{name} has a traceback: {_last_line(entry)}")
            if "worker ended" in entry["event"]:
                made.append(f"a worker died: {entry.get('worker')} with {entry.get('code')}")
            said[name, f"{_words(entry)} {entry.get('why', '')}"] += LINES_A_STATE_CHANGE
        made += [
            f"{name} says {count} times: {event[:100]}" for (name, event), count in said.items() if count > allowed
        ]
        made += [
            f"{name} has {len(lines)} lines that are no entries: {lines[-1][:120]}" for name, lines in strays.items()
        ]
        return list(dict.fromkeys(made))


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("event"), str) else None


def _words(entry: dict[str, Any]) -> str:
    """What is said, without its numbers: what a loop waits for, and that it goes on, are two."""
    return re.sub(r"\d+(\.\d+)?", "N", entry["event"].partition(":")[0])


def _last_line(entry: dict[str, Any]) -> str:
    lines = str(entry.get("exception", entry["event"])).strip().splitlines()
    return f"{entry['event'][:80]}: {lines[-1][:160] if lines else ''}"
