"""How does the exported log of another installation become the log of this one?

    manifest ─ a whole log? ─▶ FILE, line by line ─▶ COPY ─▶ as many as it says? ─▶ what follows from it ─▶ commit

Positions, versions, ids and bytes are kept, so the seal made over them here is the seal made there: a checkpoint of the
other installation verifies this log. One transaction holds all of it. A killed import has left nothing and is simply
run again; a store that is not empty is refused before a line is read.

Executors' own tables (site names, rooms on shards, databases) are no part of a log: `tenantry reconcile` finds what is
missing there, as it does after any loss. Messages that waited, were quarantined or are known by their ids stay behind.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from adapters.event_mapper import EventMapper, unreadable
from adapters.log_copy import Stored
from adapters.log_import import Key, LogImport
from adapters.sealing import MasterKey, Sealed
from domain import tenant as tenants
from domain.errors import UnreadableEvent, UsageError
from domain.guard import held_in
from domain.ports import HeldInTenant
from domain.tenant_events import ChangeHeld
from history.manifest import Manifest
from history.progress import Progress
from projections import INTEGRATION

_SCHEMA: Final = re.compile(rb'\{"v":([0-9]+),')
_SAY_EVERY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of it; `without_keys` counts the keys that count as forgotten here."""

    events: int
    position: int
    keys: int
    without_keys: int
    seconds: float

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
    say: Callable[[Progress], None] = lambda _: None,
) -> Imported:
    """Take the export into an empty store.

    Raises UsageError for an export that is not whole or a line that is broken, UnreadableEvent for an event of a newer
    version, Unavailable where the database does not answer; whatever is raised, nothing was imported.
    """
    started = time.monotonic()
    manifest = _manifest(path)
    with store.whole():
        read_keys = list(_keys(keys)) if keys else []
        store.copy_events(_events(path, manifest, say))
        store.copy_keys(read_keys)
        missing = store.missing_keys()
        if keys is not None and missing:
            raise UsageError(
                f"{keys.path} lacks {missing} of the keys that this log is sealed with: export the keys after the log"
            )
        store.forget_missing_keys()
        store.derive(upto=manifest.upto, held=_held(store), standing=[INTEGRATION.name])
    return Imported(manifest.events, manifest.upto, len(read_keys), missing, time.monotonic() - started)


def _manifest(path: Path) -> Manifest:
    if not path.is_file():
        raise UsageError(f"there is no file {path}: give one that `tenantry audit export --format jsonl` wrote")
    manifest = Manifest.of(path)
    if manifest.form != "jsonl":
        raise UsageError(f"{path} is {manifest.form}: import takes what `tenantry audit export --format jsonl` wrote")
    if not manifest.is_whole:
        raise UsageError(f"{path} holds a part of a log: export all of it, without --tenant, --from and --to")
    return manifest


# -- lines ---------------------------------------------------------------------------------------------------------


def _events(path: Path, manifest: Manifest, say: Callable[[Progress], None]) -> Iterator[Stored]:
    """The events of the file, each looked at. Raises UsageError, UnreadableEvent."""
    count, last = 0, None
    with path.open("rb") as lines:
        for count, line in enumerate(lines, 1):
            try:
                event = _event(line)
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(
                    f"line {count} of {path} is no event of an export ({_told(error)}): export it again"
                ) from None
            position, stream, version, topic, state = event
            if (last is not None and position <= last) or position > manifest.upto:
                raise UsageError(f"line {count} of {path}, position {position}, is out of order: export it again")
            last = position
            schema = _SCHEMA.match(state)
            if why := unreadable(stream, version, topic, int(schema[1]) if schema else int(json.loads(state)["v"])):
                raise UnreadableEvent(f"line {count} of {path}: {why}")
            yield event
            if count % _SAY_EVERY == 0:
                say(Progress(count, manifest.events, count))
    if (count, last) != (manifest.events, manifest.last):
        raise UsageError(
            f"{path} has {count} events up to position {last or 0}, its manifest says {manifest.events} up to"
            f" {manifest.last or 0}: it was cut off or changed, copy or export it again"
        )


def _event(line: bytes) -> Stored:
    said = json.loads(line)
    state = said["state"].encode() if "state" in said else base64.b64decode(said["state_base64"], validate=True)
    position, stream, version, topic = said["position"], said["stream"], said["version"], said["topic"]
    if type(position) is not int or type(version) is not int or not 0 < position < 2**63 or not 0 < version < 2**63:
        raise ValueError("position and version are numbers from 1")
    if not (isinstance(stream, str) and isinstance(topic, str) and stream and "\x00" not in stream + topic):
        raise ValueError("stream and topic are names")
    if "v" not in json.loads(state):
        raise ValueError("its state has no schema version")
    return position, stream, version, topic, state


def _told(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


# -- keys ----------------------------------------------------------------------------------------------------------


def _keys(keys: Keys) -> Iterator[Key]:
    """Raises UsageError where a line is broken, the file is cut off, or another master key wrapped them."""
    try:
        lines = keys.path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"the keys {keys.path} cannot be read ({error.strerror}): correct the path") from None
    said: Any = None
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            if number < len(lines):
                yield _key(said, keys.master_key)
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"line {number} of {keys.path} is no data key ({_told(error)}): export them again"
            ) from None
    if said != {"keys": len(lines) - 1}:
        raise UsageError(f"the keys {keys.path} are cut off: copy or export them again")


def _key(said: dict[str, Any], master_key: MasterKey) -> Key:
    wrapped = base64.b64decode(said["wrapped"], validate=True) if said["wrapped"] is not None else None
    if wrapped is not None:
        master_key.unwrap(wrapped, said["subject"], said["key_id"])
    made, gone = said["created_at"], said["forgotten_at"]
    return (
        said["subject"],
        said["key_id"],
        wrapped,
        datetime.fromisoformat(made),
        datetime.fromisoformat(gone) if gone else None,
    )


# -- the destroy guard ---------------------------------------------------------------------------------------------


def _held(store: LogImport) -> dict[str, HeldInTenant]:
    """What the guard holds of which tenant."""
    mapper, found = EventMapper(Sealed()), {}
    for stream in store.streams_with(ChangeHeld.TOPIC):
        tenant = tenants.Tenant(stream.removeprefix("tenant:"))
        for position, name, version, topic, state in store.stream(stream):
            tenant = tenants.evolve(tenant, mapper.to_recorded(name, version, topic, bytes(state), position=position))
        if (held := held_in(tenant)) is not None:
            found[tenant.id] = held
    return found
