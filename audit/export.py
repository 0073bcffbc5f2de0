"""Export of the log: files that other tools read and that another installation imports.

    one snapshot ─▶ pages of the stored bytes ─▶ OUT.partial ─▶ manifest ─▶ OUT

The export decodes only the beginning of each state, for the event's id and its time. So it runs at the speed of the
disk and the compression, in the memory of one page. Personal fields stay encrypted, as they are stored: every reader of
the file can read everything except personal data. `export_keys` exports the data keys, still wrapped.

The export gets its name OUT last, after everything was written. So a file of that name is always complete. A killed
export leaves OUT.partial behind, and the next export replaces it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from adapters.files.log_files import Form, LogFile, create
from adapters.postgres.log_copy import LogCopy, Page, Stored
from adapters.postgres.seal_store import BEFORE_ALL
from application.progress import Progress
from audit.checkpoints import Note
from audit.export_budget import ExportBudget, Unlimited
from audit.manifest import Manifest, beside
from audit.proofs import Proofs
from domain.errors import Tampered, UnreadableEvent, UsageError, problem
from domain.times import in_utc

PAGE: Final = 16_384
"""Events in one page: some 30 MB."""

_ENVELOPE: Final = re.compile(rb'\{"v":[0-9]+,"id":"([0-9a-f-]{36})","at":"([^"\\]+)"')
"""The beginning of a state as the mapper writes it; a state that begins in another way is read as JSON."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The choice of events to export. `since` and `until` (not included) are times of recording."""

    form: Form
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    with_proofs: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export."""

    path: Path
    manifest: Manifest
    seconds: float

    @property
    def rate(self) -> float:
        return self.manifest.events / self.seconds if self.seconds else 0.0


def export(
    log: LogCopy,
    path: Path,
    choice: Choice,
    *,
    budget: ExportBudget | None = None,
    page: int = PAGE,
    say: Callable[[Progress], None] = lambda _: None,
) -> Exported:
    """Write an export. Raises UsageError for a `path` or a `choice` that cannot be used and where the budget ends,
    Tampered for a bad proof."""
    started = time.monotonic()
    if choice.since is not None and choice.until is not None and choice.since >= choice.until:
        raise UsageError(problem("export-times-reversed", since=choice.since, until=choice.until))
    partial = _partial_of(path)
    try:
        manifest = _export(log, partial, choice, budget or Unlimited(), page, say)
        _name(partial, path, manifest)
    except UsageError:
        _remove(partial)  # what was written before the budget ended is no export
        raise
    except OSError as error:
        raise UsageError(problem("export-unwritable", path=path, reason=error.strerror)) from None
    return Exported(path, manifest, time.monotonic() - started)


def _export(
    log: LogCopy,
    partial: Path,
    choice: Choice,
    budget: ExportBudget,
    page: int,
    say: Callable[[Progress], None],
) -> Manifest:
    with log.looking():
        if choice.tenant is not None and not log.has_tenant(choice.tenant):
            raise UsageError(problem("export-tenant-unknown", tenant=choice.tenant))
        note = _newest(log)
        upto, total = log.mark(), log.count(log.mark())
        proofs = Proofs(log, note.checkpoint) if choice.with_proofs and note else None
        if choice.with_proofs and proofs is None:
            raise UsageError(problem("proofs-unsealed"))

        def report(at: int, events: int) -> None:
            say(Progress(max(0, at - upto + total), total, events))

        file = create(choice.form, partial, with_proofs=choice.with_proofs)
        try:
            events, first, last = _write(log, file, choice, budget, upto, page, proofs, report)
        finally:
            file.close()
    return Manifest(
        form=choice.form,
        events=events,
        first=first,
        last=last,
        upto=upto,
        tenant=choice.tenant,
        since=choice.since,
        until=choice.until,
        with_proofs=choice.with_proofs,
        checkpoint=str(note) if note else None,
    )


def _write(
    log: LogCopy,
    file: LogFile,
    choice: Choice,
    budget: ExportBudget,
    upto: int,
    size: int,
    proofs: Proofs | None,
    say: Callable[[int, int], None],
) -> tuple[int, int | None, int | None]:
    """The number of events that were written, the first and the last position."""
    after, events, first, last = BEFORE_ALL, 0, None, None
    while rows := log.rows(after, upto, limit=size, tenant=choice.tenant):
        after = rows[-1][0]
        page = page_of(rows)
        if choice.since is not None or choice.until is not None:
            page = page.picked([at for at, time in enumerate(page.times) if _within(time, choice)])
        if len(page):
            budget.spend(len(page), sum(map(len, page.states)))
            if proofs is not None:
                proofs.fill(page)
            file.write(page)
            events += len(page)
            first, last = page.positions[0] if first is None else first, page.positions[-1]
        say(after, events)
        if len(rows) < size:
            break
    return events, first, last


def _within(time: datetime, choice: Choice) -> bool:
    return (choice.since is None or time >= choice.since) and (choice.until is None or time < choice.until)


def page_of(rows: Sequence[Stored]) -> Page:
    """The rows as columns, with the id and the time that each state begins with. Raises UnreadableEvent."""
    positions, streams, versions, topics, states = map(list, zip(*rows, strict=True))
    ids, times = [], []
    for position, *_, state in rows:
        try:
            id_, time = envelope_of(state)
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableEvent(
                problem("export-foreign-state", position=position, name=type(error).__name__)
            ) from None
        ids.append(id_)
        times.append(time)
    return Page(positions, streams, versions, topics, states, ids, times)


def envelope_of(state: bytes) -> tuple[str, datetime]:
    """The id of the event and its time of recording. Raises ValueError, KeyError or TypeError where it has none."""
    found = _ENVELOPE.match(state)
    if found:
        id_, at = found[1].decode(), found[2].decode()
    else:
        stored = json.loads(state)
        id_, at = str(stored["id"]), str(stored["at"])
    return id_, in_utc(datetime.fromisoformat(at))


def _newest(log: LogCopy) -> Note | None:
    text = log.newest_note()
    try:
        return Note.parse(text) if text is not None else None
    except UsageError as error:
        raise Tampered(problem("last-checkpoint-unreadable")) from error


# -- keys ----------------------------------------------------------------------------------------------------------


def export_keys(log: LogCopy, path: Path) -> int:
    """Write the data keys, each wrapped by the master key, to a file that only its owner can read; return their number.

    Export the keys after the log: the log may hold fields that are encrypted with keys made in the meantime.
    """
    partial = _partial_of(path)
    with log.looking():
        keys = log.data_keys()
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(_key_lines(keys))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    return len(keys)


def _key_lines(keys: Sequence[tuple[str, str, bytes | None, datetime, datetime | None]]) -> Iterator[str]:
    for subject, key_id, wrapped, made, gone in keys:
        yield (
            json.dumps(
                {
                    "subject": subject,
                    "key_id": key_id,
                    "wrapped": base64.b64encode(wrapped).decode() if wrapped is not None else None,
                    "created_at": made.isoformat(),
                    "forgotten_at": gone.isoformat() if gone else None,
                },
                ensure_ascii=False,
            )
            + "\n"
        )
    yield json.dumps({"keys": len(keys)}) + "\n"


# -- names ---------------------------------------------------------------------------------------------------------


def _partial_of(path: Path) -> Path:
    """The name under which `path` is written until it is complete; the rest of a killed export is removed."""
    if path.exists() or path.is_symlink():
        raise UsageError(problem("export-exists", path=path))
    if not path.parent.is_dir():
        raise UsageError(problem("export-folder-missing", parent=path.parent))
    partial = path.with_name(path.name + ".partial")
    try:
        _remove(partial)
        beside(path).unlink(missing_ok=True)
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise UsageError(problem("export-unwritable", path=partial, reason=error.strerror)) from None
    return partial


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial)
    partial.unlink(missing_ok=True)


def _name(partial: Path, path: Path, manifest: Manifest) -> None:
    """The manifest first, the export's name last."""
    where = partial / "manifest.json" if partial.is_dir() else beside(path)
    coming = where.with_name(where.name + ".partial")
    coming.write_text(manifest.text(), encoding="utf-8")
    for each in sorted(partial.rglob("*")) if partial.is_dir() else [partial]:
        if each.is_file():
            _to_disk(each)
    _to_disk(coming)
    coming.rename(where)
    partial.rename(path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
