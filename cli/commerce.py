"""Comparison of a full dump of commerce with the desired state in the log."""

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
from domain.commerce_dump import CommerceDifference
from domain.errors import UsageError, problem
from runtime.compose import Parts
from runtime.compose.operators import comparing_of
from runtime.foreign_text import json_text

MOST: Final = 1000
"""Rows of the table; `--json` has all."""

REMEDIES: Final = {
    "missing": "have commerce send it again",
    "older": "have commerce send its last change again",
    "differs": "have commerce send it again, under a higher revision",
    "ahead": "if commerce was restored from a backup, have it send every change since then",
    "extra": "have commerce send its state",
}
APPROVE_OR_REJECT: Final = "approve or reject it: `tenantry runs approve`"


def compare(parts: Parts, path: Path) -> Iterator[Report]:
    """Every difference between the dump and the desired state here."""
    comparison = Comparison()
    found = _differences(parts, path, comparison)
    yield Report(Exact(_json(found, comparison)), _text(found, comparison))
    yield Report(good=not comparison.found)


def _differences(parts: Parts, path: Path, comparison: Comparison) -> Iterator[CommerceDifference]:
    try:
        with path.open("rb") as file:
            yield from comparing_of(parts).compare(commerce_dump.read(file, name=path.name), comparison)
    except OSError as error:
        raise UsageError(problem("dump-unreadable", path=path, reason=error.strerror)) from None


def _text(found: Iterator[CommerceDifference], comparison: Comparison) -> Iterator[Line]:
    rows = [(each.kind, each.tenant_id, each.what, each.text, _remedy(each)) for each in islice(found, MOST)]
    deque(found, maxlen=0)
    total = comparison.found.total()
    if rows:
        yield table(f"{total} differences", ("kind", "tenant", "what", "difference", "then"), rows)
    if total > len(rows):
        yield f"and {total - len(rows)} more: --json has all of them"
    compared = f"{comparison.customers} customers and {comparison.tenants} tenants compared"
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(comparison.found.items()))
    yield f"{compared}: {counts or 'no difference'}"


def _remedy(difference: CommerceDifference) -> str:
    return APPROVE_OR_REJECT if difference.is_awaiting_approval else REMEDIES[difference.kind]


def _json(found: Iterator[CommerceDifference], comparison: Comparison) -> Iterator[str]:
    """One JSON value for any number of differences; for a dump with an error nothing is printed."""
    with SpooledTemporaryFile(max_size=1 << 20, mode="w+", encoding="utf-8") as kept:
        for number, difference in enumerate(found):
            data = {**asdict(difference), "remedy": _remedy(difference)}
            kept.write(("," if number else "") + json_text(data, encoding=out.encoding))
        kept.seek(0)
        yield '{"differences": ['
        while part := kept.read(1 << 16):
            yield part
        counts = {"customers": comparison.customers, "tenants": comparison.tenants, "found": dict(comparison.found)}
        yield f"], {json_text(counts)[1:]}\n"
