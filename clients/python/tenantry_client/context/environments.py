"""The LMDB environments of this process: each file is open once, however many look at it, and never across a fork.

LMDB locks by process and file; a second opening would share the first one's locks, and closing it would free them. A
child of a fork must not use what its parent opened: it is closed there, which frees nothing of the parent's, and is
opened again when it is needed.

Closing waits for what other threads do in the environment, and in a child they do it for ever. So a thread reads under
`READING`, for microseconds, and a fork waits until nobody reads.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import lmdb

MAP_SIZE: Final = 64 * 1024**3  # of address space; the file is as large as what is in it
MAX_READERS: Final = 4096

_open: WeakValueDictionary[str, lmdb.Environment] = WeakValueDictionary()
READING: Final = threading.RLock()
"""Held by each thread for as long as it is in a transaction of a reader, and while an environment is opened."""


def to_read(path: Path) -> lmdb.Environment:
    """The environment at `path`, as this process has it open already, or to read only. Raises lmdb.Error."""
    with READING:
        env = _open.get(str(path))
        if env is None:
            env = lmdb.open(
                str(path), readonly=True, create=False, max_dbs=4, max_readers=MAX_READERS, max_spare_txns=16
            )
            _open[str(path)] = env
        return env


def to_write(path: Path) -> lmdb.Environment:
    """The environment at `path`, made where there is none. Commits are not synced. Raises lmdb.Error, OSError."""
    with READING:
        env = lmdb.open(
            str(path),
            map_size=MAP_SIZE,
            max_dbs=4,
            max_readers=MAX_READERS,
            max_spare_txns=16,
            sync=False,
            metasync=False,
        )
        _open[str(path)] = env
    (path / "data.mdb").chmod(0o644)
    (path / "lock.mdb").chmod(0o666)  # a reader of another user notes in it what it reads
    return env


def _after_fork() -> None:
    for env in list(_open.values()):
        env.close()
    _open.clear()
    READING.release()


os.register_at_fork(before=READING.acquire, after_in_parent=READING.release, after_in_child=_after_fork)
