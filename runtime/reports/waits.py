"""Waits of the workers: unreachable, full or read-only servers, as `status` reports them.

Each worker writes its waits to the database with each heartbeat, and to its card in the data directory, which can be
read while the database is away, full or read-only. The free space on the disk of the embedded database is checked too:
on a full disk even a card may not be written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from adapters.embedded.postgres import LOW_MB
from adapters.files.worker_cards import worker_cards
from domain.errors import TenantryError, Unavailable
from domain.times import age
from runtime.settings import Settings

LONG_OPEN_SECONDS: Final = 600.0
"""The age at which `status` names an open transaction: claims get slower by about 0.1 ms for 1,000 changes."""


def waits_of(settings: Settings, workers: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Each waiting loop once: worker, who (the server), why, text and since (ISO 8601)."""
    data = [
        *worker_cards(settings.data_dir),
        *({**worker, "waits": worker["details"].get("waits", ())} for worker in workers),
    ]
    return sorted(
        {
            (worker["name"], waits["who"]): {"worker": worker["name"], **waits}
            for worker in data
            for waits in worker["waits"]
        }.values(),
        key=lambda each: (each["since"], each["who"]),
    )


def server_waits(server: Mapping[str, Any]) -> Iterable[str]:
    """The problems of a database that answers."""
    if server["read_only"]:
        yield "the database is read-only: promote it, end its maintenance, or name the server that takes writes"
    if server["connections"] >= server["max_connections"] * 0.9:
        count = f"{server['connections']} of {server['max_connections']}"
        yield f"the database has {count} connections in use: raise its max_connections, or end some of them"
    opened = server["open_longest"]
    if opened and opened["seconds"] > LONG_OPEN_SECONDS:
        yield (
            f"{opened['who']} has been open in the database for {age(opened['seconds'])}: until it ends dead rows are"
            " not cleaned up, and the work queue gets slower; end it if it is not needed"
        )


def disk_waits(settings: Settings) -> Iterable[str]:
    """Whether the disk of the embedded parts is full, or nearly."""
    if settings.database_url is not None:
        return
    with suppress(OSError):
        free = shutil.disk_usage(settings.data_dir).free // 2**20
        if free < LOW_MB:
            yield f"the disk of {settings.data_dir.absolute()} has {free} MB left: free space for the embedded database"


def version_waits(workers: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Whether workers of several versions are at work."""
    versions = sorted({str(each["version"]) for each in workers if each["version"]})
    if len(versions) > 1:
        yield f"versions {' and '.join(versions)} are at work: an event that one cannot read waits until it has ended"


def away(settings: Settings, error: TenantryError) -> dict[str, Any]:
    """The status while the database does not answer."""
    why = error.why if isinstance(error, Unavailable) else "unavailable"
    return {
        "database": {"answers": False, "why": why, "text": str(error)},
        "workers": worker_cards(settings.data_dir),
        "waits": waits_of(settings),
        "notes": list(disk_waits(settings)),
        "logs": logs_of(settings),
    }


def logs_of(settings: Settings) -> list[str]:
    """The paths of the logs in this data directory, where there are any."""
    here = settings.data_dir.absolute()
    places = (here / "logs", here / "postgres" / "postgres.log", here / "broker" / "broker.log")
    return [str(place) for place in places if place.exists()]
