"""What does commerce have that we were not told, and what do we have that it has not?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Final

import typer

from adapters.files import commerce_dump
from application.commerce_comparison import Comparison
from cli.output import out, table
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


def compare(parts: Parts, path: Path, *, as_json: bool) -> None:
    """Print every difference between the dump and what is wanted here. Exit 1 where there is one."""
    comparison = Comparison()
    try:
        with path.open("rb") as file:
            found = comparing_of(parts).compare(commerce_dump.read(file, name=path.name), comparison)
            if as_json:
                _print_json(found, comparison)
            else:
                _print_table(found, comparison)
    except OSError as error:
        raise UsageError(f"dump {path}: {error.strerror}: correct the path") from None
    if comparison.found:
        raise typer.Exit(1)


def _print_table(found: Iterator[Difference], comparison: Comparison) -> None:
    rows: list[tuple[str | None, ...]] = []
    for difference in found:
        if len(rows) < MOST:
            told = (difference.kind, difference.tenant_id, difference.what, difference.said, _remedy(difference))
            rows.append(told)
    all_ = comparison.found.total()
    if rows:
        out.print(table(f"{all_} differences", ("kind", "tenant", "what", "difference", "then"), rows))
    if all_ > len(rows):
        out.print(f"and {all_ - len(rows)} more: --json has all of them")
    compared = f"{comparison.customers} customers and {comparison.tenants} tenants compared"
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(comparison.found.items()))
    out.print(f"{compared}: {counts or 'all is as commerce says'}", soft_wrap=True, highlight=False)


def _remedy(difference: Difference) -> str:
    return HELD if difference.held else REMEDIES[difference.kind]


def _print_json(found: Iterator[Difference], comparison: Comparison) -> None:
    """One JSON value, however many there are: nothing is printed of a dump that turns out to be a bad one."""
    with SpooledTemporaryFile(max_size=1 << 20, mode="w+", encoding="utf-8") as kept:
        for number, difference in enumerate(found):
            told = {**asdict(difference), "remedy": _remedy(difference)}
            kept.write(("," if number else "") + json_text(told, encoding=out.encoding))
        kept.seek(0)
        out.exact('{"differences": [')
        while part := kept.read(1 << 16):
            out.exact(part)
        counts = {"customers": comparison.customers, "tenants": comparison.tenants, "found": dict(comparison.found)}
        out.exact(f"], {json_text(counts)[1:]}\n")
