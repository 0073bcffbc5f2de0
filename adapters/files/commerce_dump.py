"""Commerce dump: the reader of a full dump of commerce as a file of JSON lines.

JSON lines, one at a time, so that a dump of any size needs the memory of one line. A dump that is not whole, not in
order or not well formed would look like thousands of lost events: it is refused, with the number of the line and the
remedy.
The format is in docs/reference/commerce-dump.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from pydantic import ValidationError

from domain.commerce_dump import CustomerLine, DumpBegins, DumpEnds, Line, TenantLine
from domain.errors import UsageError, problem

LONGEST: Final = 1 << 20
"""Bytes of one line, as of one message."""


def read(file: BinaryIO, *, name: str) -> Iterator[Line]:
    """The lines: a beginning, customers and tenants, each in the order of their ids, the end. Raises UsageError."""
    last = {CustomerLine: "", TenantLine: ""}
    counts = {CustomerLine: 0, TenantLine: 0}
    begun = ended = False
    number = 0
    while raw := file.readline(LONGEST + 1):
        number += 1
        where = f"{name}, line {number}"
        if len(raw) > LONGEST:
            raise UsageError(problem("dump-line-too-long", where=where))
        if ended:
            raise UsageError(problem("dump-line-after-end", where=where))
        line = _parsed(raw, where)
        if isinstance(line, DumpBegins) == begun:
            begins = '{"dump": "tenantry.commerce/1", "as_of": TIME}'
            raise UsageError(problem("dump-header", where=where, begins=begins))
        begun = True
        if isinstance(line, CustomerLine | TenantLine):
            kind, id_ = type(line), line.tenant_id if isinstance(line, TenantLine) else line.customer_id
            if id_ <= last[kind]:
                raise UsageError(problem("dump-order", where=where, id=id_, last=last[kind]))
            last[kind] = id_
            counts[kind] += 1
        elif isinstance(line, DumpEnds):
            ended = True
            _check_counts(line, counts[CustomerLine], counts[TenantLine], where)
        yield line
    if not ended:
        raise UsageError(problem("dump-cut-short", name=name, number=number))


def _check_counts(line: DumpEnds, customers: int, tenants: int, where: str) -> None:
    if (line.customers, line.tenants) != (customers, tenants):
        raise UsageError(
            problem(
                "dump-not-whole",
                where=where,
                customers=line.customers,
                tenants=line.tenants,
                found_customers=customers,
                found_tenants=tenants,
            )
        )


def _parsed(raw: bytes, where: str) -> Line:
    try:
        value = json.loads(raw, object_pairs_hook=_each_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(problem("dump-line-not-json", where=where, reason=_first(error))) from None
    if not isinstance(value, dict):
        raise UsageError(problem("dump-line-no-object", where=where))
    kind: type[Line]
    match value:
        case {"dump": _}:
            kind = DumpBegins
        case {"end": _}:
            kind = DumpEnds
        case {"tenant_id": _}:
            kind = TenantLine
        case {"customer_id": _}:
            kind = CustomerLine
        case _:
            raise UsageError(problem("dump-line-unknown", where=where))
    try:
        line = kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the line"
        raise UsageError(problem("dump-line-invalid", where=where, place=place, msg=first["msg"].lower())) from None
    if isinstance(line, TenantLine) and len({each.product for each in line.products}) != len(line.products):
        raise UsageError(problem("dump-product-twice", where=where))
    return line


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _first(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
