"""How is a process killed wherever it stands, again and again, in little time?

    python -m tests.history.killing export URL OUT FORM
    python -m tests.history.killing import URL FILE KEYS

One process loads what is needed and forks. The first child goes through to count its places: each call, in Python or in
C, that the modules concerned make. Every other child is killed at one of them: some at random, and the last ones, where
names are given and the transaction is committed, each. After a kill the parent looks at what is left and says it, one
JSON object a line; the next child goes on upon that.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import psycopg

from adapters.encryption import MasterKey
from adapters.postgres.log_copy import LogCopy
from adapters.postgres.log_import import LogImport
from audit.export import Choice, export
from audit.importing import Keys, import_log
from audit.manifest import beside

MASTER: Final = MasterKey(bytes(range(32)))
AT_RANDOM: Final = 12
AT_THE_END: Final = 30

_CONCERNED: Final = (
    "audit/export.py",
    "audit/importing.py",
    "adapters/files/log_files.py",
    "adapters/postgres/log_copy.py",
    "adapters/postgres/log_import.py",
)


class Places:
    """Counts the calls of the modules concerned; dies at the given one."""

    def __init__(self, last: int | None = None) -> None:
        self.passed = 0
        self._last = last

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        caller = frame.f_back if event == "call" else frame if event == "c_call" else None
        if caller is not None and caller.f_code.co_filename.endswith(_CONCERNED):
            self.passed += 1
            if self.passed == self._last:
                os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(work: Callable[[], object], last: int | None = None) -> int:
    """How many places the work has; with `last`, it is killed there. Raises AssertionError where it failed."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        places = Places(last)
        sys.setprofile(places)
        try:
            work()
        finally:
            sys.setprofile(None)
        os.write(writes, str(places.passed).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as said:
        text = said.read()
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    assert ended == (0 if last is None else -signal.SIGKILL), f"the child ended with {ended}"
    return int(text or 0)


def places(count: int) -> Iterator[int]:
    at_random = random.Random(count).sample(range(1, count - AT_THE_END), AT_RANDOM)  # noqa: S311 - told again
    yield from sorted(at_random)
    yield from range(count - AT_THE_END, count + 1)


def kill_exports(url: str, out: Path, form: Any) -> Iterator[dict[str, Any]]:
    """Is what has its name whole? Whatever has it is put away as `whole-N`, for the next one to begin anew."""

    def work() -> None:
        with LogCopy(url) as log:
            export(log, out, Choice(form), page=64)

    count = in_a_child(work)
    out.rename(out.with_name("whole"))
    for place in places(count):
        in_a_child(work, place)
        named, manifest = out.exists(), (out / "manifest.json" if form == "parquet" else beside(out)).exists()
        if named:
            out.rename(out.with_name(f"whole-{place}"))
        yield {"place": place, "of": count, "named": named, "manifest": manifest}
    work()


def kill_imports(url: str, file: Path, keys: Path) -> Iterator[dict[str, Any]]:
    """How many rows are there in each table, once the server has noticed? Ends with the first import that is whole."""

    def work() -> None:
        import_log(LogImport(url), file, keys=Keys(keys, MASTER))

    count = in_a_child(work)
    _empty(url)
    for place in places(count):
        in_a_child(work, place)
        left = _rows(url)
        yield {"place": place, "of": count, **left}
        if left["stored_events"]:
            return
    work()


def _empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "TRUNCATE stored_events, data_keys, wakes, customer_tenants, held_by_guard, live_products,"
            " projection_positions; UPDATE high_water_mark SET position = 0"
        )


def _rows(url: str) -> dict[str, int]:
    with psycopg.connect(url, autocommit=True) as connection:
        others = (
            b"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            b" AND backend_type = 'client backend'"
        )
        while connection.execute(others).fetchone() != (0,):
            time.sleep(0.01)
        tables = ("stored_events", "data_keys", "wakes", "customer_tenants", "projection_positions")
        found = {}
        for table in tables:
            row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert row is not None
            found[table] = int(row[0])
        return found


if __name__ == "__main__":
    kind, url, first, second = sys.argv[1:]
    told = kill_exports(url, Path(first), second) if kind == "export" else kill_imports(url, Path(first), Path(second))
    for each in told:
        sys.stdout.write(json.dumps(each) + "\n")
        sys.stdout.flush()
