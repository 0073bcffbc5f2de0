"""Import of the log of another installation into an empty store.

    manifest ─ a whole log? ─▶ FILE, line by line ─▶ COPY ─▶ the number it says? ─▶ derived tables ─▶ commit
                                     └─▶ the root over them ─▶ that of its checkpoint?

The import keeps positions, versions, ids and bytes. So the seal over the imported log is the same as the seal of the
other installation: a checkpoint of that installation verifies this log, and the import compares the two
(import_check.py). The import is one transaction. A killed import leaves nothing and can be run again; a store that is
not empty is refused before the first line is read.

The log does not contain the tables of the executors (site names, capacity of shards, databases): `tenantry reconcile`
finds what is missing there, as after any loss. Messages that wait, quarantined messages and the known ids of messages
are not imported.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from adapters.encryption import MasterKey, NoKeys
from adapters.postgres.event_mapper import EventMapper
from adapters.postgres.log_copy import Stored
from adapters.postgres.log_import import Key, LogImport
from application.progress import Progress
from audit.checkpoints import Keyring, Note, key_ids
from audit.export import envelope_of
from audit.import_check import ImportCheck
from audit.manifest import Manifest, beside
from domain.errors import Tampered, UnreadableEvent, UsageError, problem
from domain.event_registry import REGISTRY
from domain.stream_name import StreamName
from domain.tenant import state as tenants
from domain.tenant.approval import pending_approvals_of
from domain.tenant.events import ApprovalRequested, ClosingAwaitsApproval
from domain.tenant.guarded import PendingApprovals
from projections import INTEGRATION

_SCHEMA: Final = re.compile(rb'\{"v":([0-9]+),')
_SAY_EVERY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import; `without_keys` counts the keys that count as forgotten here, `attested` the events that
    a checkpoint attests; `unknown_keys` names the keys of the manifest's checkpoint where the keyring has none."""

    events: int
    position: int
    keys: int
    without_keys: int
    seconds: float
    attested: int = 0
    unknown_keys: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Keys:
    """The file of `audit export-keys`, and the master key that they must be wrapped by."""

    path: Path
    master_key: MasterKey


def import_log(
    store: LogImport,
    path: Path,
    *,
    keys: Keys | None = None,
    keyring: Keyring | None = None,
    checkpoint: Note | None = None,
    say: Callable[[Progress], None] = lambda _: None,
) -> Imported:
    """Import the export into an empty store.

    `checkpoint` was kept elsewhere; `keyring` has the keys whose signatures count. Raises Tampered where the events are
    not those that a checkpoint attests, UsageError for an export that is not complete or a line that is broken,
    UnreadableEvent for an event of a newer version, Unavailable where the database does not answer. After each of these
    errors nothing is imported.
    """
    started = time.monotonic()
    manifest = _manifest(path)
    keyring = keyring or Keyring("")
    attested, unknown = _checkpoint(path, manifest, keyring)
    proven = attested.checkpoint if attested and manifest.with_proofs else None
    check = ImportCheck(
        [note.checkpoint for note in (attested, _kept_elsewhere(checkpoint, keyring)) if note is not None],
        proven=proven,
    )
    with store.whole():
        read_keys = list(_keys(keys)) if keys else []
        store.copy_events(_events(path, manifest, check, say))
        store.copy_keys(read_keys)
        missing = store.missing_keys()
        if keys is not None and missing:
            raise UsageError(problem("keys-incomplete", path=keys.path, missing=missing))
        store.forget_missing_keys()
        store.derive(upto=manifest.upto, pending=_pending_approvals(store), standing=[INTEGRATION.name])
    seconds = time.monotonic() - started
    return Imported(manifest.events, manifest.upto, len(read_keys), missing, seconds, check.attested, unknown)


def _manifest(path: Path) -> Manifest:
    if not path.is_file():
        raise UsageError(problem("import-file-missing", path=path))
    manifest = Manifest.of(path)
    if manifest.form != "jsonl":
        raise UsageError(problem("import-form", path=path, form=manifest.form))
    if not manifest.is_whole:
        raise UsageError(problem("import-partial", path=path))
    return manifest


def _checkpoint(path: Path, manifest: Manifest, keyring: Keyring) -> tuple[Note | None, tuple[str, ...]]:
    """The checkpoint in the manifest, and the names of its keys where none of them is known here."""
    if manifest.checkpoint is None:
        return None, ()
    try:
        note = Note.parse(manifest.checkpoint)
    except UsageError:
        raise Tampered(problem("export-checkpoint-unreadable", path=beside(path))) from None
    standing = keyring.standing(note)
    if standing == "forged":
        raise Tampered(problem("export-checkpoint-forged", path=beside(path)))
    return note, tuple(key_ids(note)) if standing == "unknown" else ()


def _kept_elsewhere(note: Note | None, keyring: Keyring) -> Note | None:
    if note is not None and keyring.standing(note) == "forged":
        raise Tampered(problem("kept-checkpoint-forged"))
    return note


# -- lines ---------------------------------------------------------------------------------------------------------


def _events(path: Path, manifest: Manifest, check: ImportCheck, say: Callable[[Progress], None]) -> Iterator[Stored]:
    """The events of the file, each one checked. Raises UsageError, UnreadableEvent, Tampered."""
    count, last = 0, None
    with path.open("rb") as lines:
        for count, line in enumerate(lines, 1):
            try:
                content = json.loads(line)
                event = _event(content)
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(
                    problem("export-line-invalid", count=count, path=path, reason=_reason_of(error))
                ) from None
            position, stream, version, topic, state = event
            if (last is not None and position <= last) or position > manifest.upto:
                raise UsageError(problem("export-line-order", count=count, path=path, position=position))
            last = position
            schema = _SCHEMA.match(state)
            stored = int(schema[1]) if schema else int(json.loads(state)["v"])
            if why := REGISTRY.unreadable(stream, version, topic, stored):
                raise UnreadableEvent(problem("export-line-unreadable", count=count, path=path, why=why))
            _repeats_its_state(content, event, path, count)
            try:
                check.see(event, content)
            except (ValueError, TypeError, KeyError):
                raise UsageError(problem("export-line-proof", count=count, path=path)) from None
            yield event
            if count % _SAY_EVERY == 0:
                say(Progress(count, manifest.events, count))
    if (count, last) != (manifest.events, manifest.last):
        raise UsageError(
            problem(
                "export-cut-off",
                path=path,
                count=count,
                last=last or 0,
                events=manifest.events,
                listed_last=manifest.last or 0,
            )
        )
    check.close()


def _repeats_its_state(content: Mapping[str, Any], event: Stored, path: Path, line: int) -> None:
    """Raises Tampered where `recorded_at` or `id` of the line differs from its state; no leaf covers these two."""
    try:
        id_, at = envelope_of(event[4])
        recorded_at = datetime.fromisoformat(content["recorded_at"]) if "recorded_at" in content else at
        is_same = {"id": content.get("id", id_) == id_, "recorded_at": recorded_at == at}
    except (ValueError, KeyError, TypeError):
        raise UsageError(problem("export-line-without-id", line=line, path=path)) from None
    for name, same in is_same.items():
        if not same:
            raise Tampered(problem("export-line-differs", event=event[0], line=line, name=name))


def _event(content: Any) -> Stored:
    state = (
        content["state"].encode() if "state" in content else base64.b64decode(content["state_base64"], validate=True)
    )
    position, stream, version, topic = content["position"], content["stream"], content["version"], content["topic"]
    if type(position) is not int or type(version) is not int or not 0 < position < 2**63 or not 0 < version < 2**63:
        raise ValueError("position and version are numbers from 1")
    if not (isinstance(stream, str) and isinstance(topic, str) and stream and "\x00" not in stream + topic):
        raise ValueError("stream and topic are names")
    if "v" not in json.loads(state):
        raise ValueError("its state has no schema version")
    return position, stream, version, topic, state


def _reason_of(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


# -- keys ----------------------------------------------------------------------------------------------------------


def _keys(keys: Keys) -> Iterator[Key]:
    """Raises UsageError where a line is broken, the file is cut off, or another master key has wrapped the keys."""
    try:
        lines = keys.path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(problem("keys-unreadable", path=keys.path, reason=error.strerror)) from None
    content: Any = None
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            if number < len(lines):
                yield _key(content, keys.master_key)
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                problem("keys-line-invalid", number=number, path=keys.path, reason=_reason_of(error))
            ) from None
    if content != {"keys": len(lines) - 1}:
        raise UsageError(problem("keys-cut-off", path=keys.path))


def _key(content: dict[str, Any], master_key: MasterKey) -> Key:
    wrapped = base64.b64decode(content["wrapped"], validate=True) if content["wrapped"] is not None else None
    if wrapped is not None:
        master_key.unwrap(wrapped, content["subject"], content["key_id"])
    made, gone = content["created_at"], content["forgotten_at"]
    return (
        content["subject"],
        content["key_id"],
        wrapped,
        datetime.fromisoformat(made),
        datetime.fromisoformat(gone) if gone else None,
    )


# -- the destroy guard ---------------------------------------------------------------------------------------------


def _pending_approvals(store: LogImport) -> dict[str, PendingApprovals]:
    """What the guard holds of which tenant."""
    mapper, found = EventMapper(NoKeys()), {}
    streams = {*store.streams_with(ApprovalRequested.TOPIC), *store.streams_with(ClosingAwaitsApproval.TOPIC)}
    for stream in sorted(streams):
        tenant = tenants.Tenant(StreamName.parse(stream).key)
        for position, name, version, topic, state in store.stream(stream):
            tenant = tenants.evolve(tenant, mapper.to_recorded(name, version, topic, bytes(state), position=position))
        if (pending := pending_approvals_of(tenant)) is not None:
            found[tenant.id] = pending
    return found
