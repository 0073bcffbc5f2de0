"""What does commerce have that we were not told, and what do we have that it has not?"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Final

from adapters.files import commerce_dump
from application.commerce_comparison import Comparison
from cli.output import Exact, Line, Report, out, table
from domain.commerce_dump import Difference
from domain.errors import UsageError
from runtime.compose import Parts
from runtime.compose.operators import comparing_of
from runtime.foreign_text import json_text

MOST: Final = 1000
"""Rows of the table; `--json` has all."""

REMEDIES: Final = {
    "missing": "have commerce send it again",
    "older": "have commerce send its last change again",
    "differs": "have commerce send it again, under a higher revision",
    "ahead": "was commerce restored from a backup? have it send all since then",
    "extra": "have commerce say what becomes of it",
}
HELD: Final = "decide about it: `tenantry runs approve`"


def compare(parts: Parts, path: Path) -> Iterator[Report]:
    """Every difference between the dump and what is wanted here."""
    comparison = Comparison()
    found = _differences(parts, path, comparison)
    yield Report(Exact(_json(found, comparison)), _text(found, comparison))
    yield Report(good=not comparison.found)


def _differences(parts: Parts, path: Path, comparison: Comparison) -> Iterator[Difference]:
    try:
        with path.open("rb") as file:
            yield from comparing_of(parts).compare(commerce_dump.read(file, name=path.name), comparison)
    except OSError as error:
        raise UsageError(f"dump {path}: {error.strerror}: correct the path") from None


def _text(found: Iterator[Difference], comparison: Comparison) -> Iterator[Line]:
    rows = [(each.kind, each.tenant_id, each.what, each.text, _remedy(each)) for each in islice(found, MOST)]
    deque(found, maxlen=0)
    total = comparison.found.total()
    if rows:
        yield table(f"{total} differences", ("kind", "tenant", "what", "difference", "then"), rows)
    if total > len(rows):
        yield f"and {total - len(rows)} more: --json has all of them"
    compared = f"{comparison.customers} customers and {comparison.tenants} tenants compared"
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(comparison.found.items()))
    yield f"{compared}: {counts or 'all is as commerce says'}"


def _remedy(difference: Difference) -> str:
    return HELD if difference.is_awaiting_approval else REMEDIES[difference.kind]


def _json(found: Iterator[Difference], comparison: Comparison) -> Iterator[str]:
    """One JSON value, however many there are: nothing is printed of a dump that turns out to be a bad one."""
    with SpooledTemporaryFile(max_size=1 << 20, mode="w+", encoding="utf-8") as kept:
        for number, difference in enumerate(found):
            told = {**asdict(difference), "remedy": _remedy(difference)}
            kept.write(("," if number else "") + json_text(told, encoding=out.encoding))
        kept.seek(0)
        yield '{"differences": ['
        while part := kept.read(1 << 16):
            yield part
        counts = {"customers": comparison.customers, "tenants": comparison.tenants, "found": dict(comparison.found)}
        yield f"], {json_text(counts)[1:]}\n"
