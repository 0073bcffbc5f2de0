"""Log files: the export of the log as JSON lines, CSV or a folder of Parquet.

    jsonl     a JSON object a line: position, stream, version, topic, recorded_at, id, state as text, leaf_hash; the
              form that `tenantry import` takes
    csv       the same columns under a line of names
    parquet   a folder a day (of recording, UTC): day=2026-06-01/part-0.parquet, state as bytes

The state is always the stored bytes, to the last one, so that a seal over the log holds for what is exported: as text,
where it is UTF-8, which JSON is. Bytes that are not go into `state_base64`; CSV has no place for them. The columns
`recorded_at` and `id` repeat what the state begins with; `leaf_hash` (base64) is over the five columns that are sealed,
so that a reader of the file can name a line that was changed. It proves nothing by itself: a root does.
"""

from __future__ import annotations

import base64
import csv
import json
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, Protocol

from adapters.postgres.log_copy import Page
from adapters.postgres.seal_store import leaf_of
from domain.errors import UnreadableEvent, UsageError, problem

Form = Literal["parquet", "jsonl", "csv"]

OPEN_DAYS: Final = 8
"""Parquet files that are open side by side; a day that comes back later gets one more part."""

_HASH: Final = 32
"""Bytes of a hash; a proof is hashes side by side."""

_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class LogFile(Protocol):
    """What pages are written to."""

    def write(self, page: Page) -> None: ...
    def close(self) -> None: ...


def create(form: Form, path: Path, *, with_proofs: bool) -> LogFile:
    """A new file, or folder, at `path`. Raises UsageError where pyarrow is needed and not installed."""
    if form == "parquet":
        return _Parquet(_pyarrow(), path, with_proofs)
    return (_JsonLines if form == "jsonl" else _Csv)(path, with_proofs)


class _JsonLines:
    def __init__(self, path: Path, with_proofs: bool) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self._with_proofs = with_proofs

    def write(self, page: Page) -> None:
        self._file.writelines([_ENCODE(self._row(page, at)) + "\n" for at in range(len(page))])

    def _row(self, page: Page, at: int) -> dict[str, Any]:
        row: dict[str, Any] = {
            "position": page.positions[at],
            "stream": page.streams[at],
            "version": page.versions[at],
            "topic": page.topics[at],
            "recorded_at": page.times[at].isoformat(),
            "id": page.ids[at],
        }
        try:
            row["state"] = page.states[at].decode()
        except UnicodeDecodeError:
            row["state_base64"] = base64.b64encode(page.states[at]).decode()
        row["leaf_hash"] = _hash(page, at)
        if self._with_proofs:
            row["leaf"], row["proof"] = page.leaves[at], _texts(page.proofs[at])
        return row

    def close(self) -> None:
        self._file.close()


class _Csv:
    def __init__(self, path: Path, with_proofs: bool) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        self._with_proofs = with_proofs
        more = ("leaf", "proof") if with_proofs else ()
        self._rows.writerow(
            ("position", "stream", "version", "topic", "recorded_at", "id", "state", "leaf_hash", *more)
        )

    def write(self, page: Page) -> None:
        for at in range(len(page)):
            try:
                state = page.states[at].decode()
            except UnicodeDecodeError:
                raise UnreadableEvent(problem("event-no-text", positions=page.positions[at])) from None
            row: list[Any] = [page.positions[at], page.streams[at], page.versions[at], page.topics[at]]
            row += [page.times[at].isoformat(), page.ids[at], state, _hash(page, at)]
            if self._with_proofs:
                row += [page.leaves[at], " ".join(_texts(page.proofs[at]) or ())]
            self._rows.writerow(row)

    def close(self) -> None:
        self._file.close()


def _hash(page: Page, at: int) -> str:
    event = (page.positions[at], page.streams[at], page.versions[at], page.topics[at], page.states[at])
    return base64.b64encode(sha256(b"\x00" + leaf_of(event)).digest()).decode()


def _texts(proof: bytes | None) -> list[str] | None:
    if proof is None:
        return None
    return [base64.b64encode(proof[at : at + _HASH]).decode() for at in range(0, len(proof), _HASH)]


# -- Parquet -------------------------------------------------------------------------------------------------------


class _Parquet:
    """A writer for each day, the last few of them open: their row groups are the pages."""

    def __init__(self, arrow: ModuleType, path: Path, with_proofs: bool) -> None:
        self._arrow = arrow
        self._path = path
        self._with_proofs = with_proofs
        self._schema = _schema(arrow, with_proofs)
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._parts: dict[str, int] = {}
        path.mkdir()

    def write(self, page: Page) -> None:
        days: dict[str, list[int]] = {}
        first, last = min(page.times).date(), max(page.times).date()
        if first == last:
            self._write(first.isoformat(), page)
            return
        for at, time in enumerate(page.times):
            days.setdefault(time.date().isoformat(), []).append(at)
        for day, rows in days.items():
            self._write(day, page.picked(rows))

    def _write(self, day: str, page: Page) -> None:
        columns: list[Any] = [
            page.positions,
            page.streams,
            page.versions,
            page.topics,
            [topic.removeprefix("tenantry.") for topic in page.topics],
            [_tenant(stream) for stream in page.streams],
            page.times,
            page.ids,
            page.states,
        ]
        if self._with_proofs:
            columns.append(page.leaves)
        arrays = [self._arrow.array(each, field.type) for each, field in zip(columns, self._schema, strict=False)]
        if self._with_proofs:
            arrays.append(_lists_of_hashes(self._arrow, page.proofs))
        self._writer(day).write_batch(self._arrow.record_batch(arrays, schema=self._schema))

    def _writer(self, day: str) -> Any:
        if day in self._open:
            self._open.move_to_end(day)
            return self._open[day]
        if len(self._open) == OPEN_DAYS:
            self._open.popitem(last=False)[1].close()
        folder = self._path / f"day={day}"
        folder.mkdir(exist_ok=True)
        part = self._parts[day] = self._parts.get(day, -1) + 1
        make: Callable[..., Any] = self._arrow.parquet.ParquetWriter
        self._open[day] = make(
            folder / f"part-{part}.parquet",
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=["topic", "event_type"],
            write_statistics=["position", "recorded_at"],
        )
        return self._open[day]

    def close(self) -> None:
        for writer in self._open.values():
            writer.close()
        self._open.clear()


def _lists_of_hashes(arrow: ModuleType, proofs: Sequence[bytes | None]) -> Any:
    """The column of proofs, laid out as Arrow has it: no object for each of the many hashes."""
    joined = b"".join([proof for proof in proofs if proof])
    bounds = arrow.py_buffer(array("i", range(0, len(joined) + 1, _HASH)))
    hashes = arrow.Array.from_buffers(arrow.binary(), len(joined) // _HASH, [None, bounds, arrow.py_buffer(joined)])
    ends = [0, *accumulate(len(proof) // _HASH if proof else 0 for proof in proofs)]
    begins: list[int | None] = [None if proof is None else at for proof, at in zip(proofs, ends, strict=False)]
    return arrow.ListArray.from_arrays(arrow.array([*begins, ends[-1]], arrow.int32()), hashes)


def _schema(arrow: ModuleType, with_proofs: bool) -> Any:
    fields = [
        ("position", arrow.int64()),
        ("stream", arrow.string()),
        ("version", arrow.int64()),
        ("topic", arrow.string()),
        ("event_type", arrow.string()),
        ("tenant_id", arrow.string()),
        ("recorded_at", arrow.timestamp("us", tz="UTC")),
        ("id", arrow.string()),
        ("state", arrow.binary()),
    ]
    if with_proofs:
        fields += [("leaf", arrow.int64()), ("proof", arrow.list_(arrow.binary()))]
    return arrow.schema(fields)


def _tenant(stream: str) -> str | None:
    kind, _, rest = stream.partition(":")
    return None if kind == "customer" else rest.partition(":")[0]


def _pyarrow() -> ModuleType:
    """An extra, and 170 MB of library where it is not needed."""
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ModuleNotFoundError:
        raise UsageError(problem("parquet-not-installed")) from None
