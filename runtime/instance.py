"""Instance card: the addresses of the `tenantry up` that runs on this machine.

`tenantry up` leaves a card in its data directory, `up.json`, while it runs: its process, and the addresses of the
database, the broker and the shards. Other commands find it there; TENANTRY_DATABASE_URL and TENANTRY_KAFKA_BOOTSTRAP go
before it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from adapters.files.worker_cards import is_locked
from domain.errors import UsageError, problem
from runtime.settings import Settings

CARD = "up.json"
LOCK = "up.lock"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the parts are. The urls, of the database and of shards by name, may hold passwords: not for logs."""

    database_url: str = field(repr=False)
    kafka_bootstrap: str
    tcp_host: str | None = None
    tcp_port: int | None = None
    shard_urls: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card(Endpoints):
    """Who runs here, and where the parts are."""

    pid: int


def leave_card(data_dir: Path, endpoints: Endpoints) -> None:
    """Write the card whole or not at all, for our user only."""
    card = Card(pid=os.getpid(), **asdict(endpoints))
    fresh = data_dir / f".{CARD}.{os.getpid()}"
    descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(card), file)
    fresh.replace(data_dir / CARD)


def take_card_away(data_dir: Path) -> None:
    (data_dir / CARD).unlink(missing_ok=True)


def hold(data_dir: Path) -> IO[str] | None:
    """The lock of the one `up` in this directory, for as long as the file is open; None where another has it.

    The kernel lets go of it when its holder dies, however it dies: a process id could belong to anybody by now.
    """
    file = (data_dir / LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def running(data_dir: Path) -> Card | None:
    """The card of an `up` that is alive; None where there is none."""
    try:
        card = Card(**json.loads((data_dir / CARD).read_text()))
        with (data_dir / LOCK).open() as file:
            return card if is_locked(file.fileno()) else None
    except (OSError, ValueError, TypeError):
        return None


def endpoints(settings: Settings) -> Endpoints:
    """From the settings, else from the card; UsageError where neither says."""
    card = running(settings.data_dir)
    url = settings.database_url.get_secret_value() if settings.database_url else card and card.database_url
    bootstrap = settings.kafka_bootstrap or (card and card.kafka_bootstrap)
    if not url or not bootstrap:
        missing = "TENANTRY_DATABASE_URL" if not url else "TENANTRY_KAFKA_BOOTSTRAP"
        raise UsageError(problem("no-tenantry-runs", data_dir=settings.data_dir, missing=missing))
    if card is None:
        return Endpoints(url, bootstrap)
    return Endpoints(url, bootstrap, card.tcp_host, card.tcp_port, card.shard_urls)
