"""Parallel load of one log by several processes.

Each worker loads its windows of the log (loading.py), and sends its progress through a pipe. Workers end when the
process that started them is gone; when one of them fails or is killed, the others are ended, also while they wait for
their turn, and the caller gets the error.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import Array, c_ubyte
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.synchronize import Semaphore

from sqlalchemy.exc import DBAPIError

from domain.errors import TenantryError, Unavailable, problem
from history.rebuild.fork_server import FORKS, open_early
from history.rebuild.loading import MET_BYTES, Job, LoadProgress, NoTurn, Sources, load, spare_the_collector


def load_together(
    sources: Sources, schemas: Mapping[str, str], upto: int, *, workers: int, say: Callable[[LoadProgress], None]
) -> LoadProgress:
    """Load the log up to a position into the schema of each projection; the joint result of all workers.

    `say` gets the joint progress of all workers. Raises TenantryError.
    """
    progress: dict[int, LoadProgress] = {}

    def hear(rank: int, news: LoadProgress) -> None:
        progress[rank] = news
        workers_at = progress.values()
        say(LoadProgress(sum(each.positions for each in workers_at), sum(each.events for each in workers_at), {}))

    if workers == 1:
        gc.disable()  # see spare_the_collector
        try:
            met = {name: memoryview(bytearray(MET_BYTES)) for name in schemas}
            hear(0, load(sources, Job(schemas, met, NoTurn(), upto), lambda news: hear(0, news)))
        finally:
            gc.enable()
    else:
        _side_by_side(sources, dict(schemas), upto, workers=workers, hear=hear)
    failures = {name: why for each in progress.values() for name, why in each.failures.items()}
    return LoadProgress(upto, sum(each.events for each in progress.values()), failures, done=True)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the workers share: for each its turn, and for each projection the bits of the keys that were met."""

    turns: Sequence[Semaphore]
    met: Mapping[str, Array[c_ubyte]]

    @staticmethod
    def between(workers: int, names: Iterable[str]) -> _Shared:
        """The first worker has the turn."""
        turns = [FORKS.Semaphore(0 if rank else 1) for rank in range(workers)]
        return _Shared(turns, {name: FORKS.RawArray(c_ubyte, MET_BYTES) for name in names})

    def job(self, schemas: Mapping[str, str], upto: int, *, rank: int) -> Job:
        turn = _Turn(self.turns[rank], self.turns[(rank + 1) % len(self.turns)])
        met = {name: memoryview(bits).cast("B") for name, bits in self.met.items()}
        return Job(schemas, met, turn, upto, rank, len(self.turns))


@dataclass(frozen=True, slots=True)
class _Turn:
    """A worker's own turn, and the next worker's."""

    ours: Semaphore
    next: Semaphore

    def take(self) -> None:
        self.ours.acquire()

    def pass_on(self) -> None:
        self.next.release()


def _side_by_side(
    sources: Sources, schemas: dict[str, str], upto: int, *, workers: int, hear: Callable[[int, LoadProgress], None]
) -> None:
    open_early(type(sources).__module__)
    shared = _Shared.between(workers, schemas)
    pipes: dict[Pipe, int] = {}
    processes = []
    try:
        for rank in range(workers):
            ours, theirs = FORKS.Pipe(duplex=False)
            process = FORKS.Process(target=_work, args=(sources, schemas, upto, shared, rank, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes[ours] = rank
        while pipes:
            for pipe in wait(list(pipes)):
                assert isinstance(pipe, Pipe)
                news = _next(pipe)
                if isinstance(news, Exception):
                    raise news
                hear(pipes[pipe], news)
                if news.done:
                    del pipes[pipe]
                    pipe.close()
    finally:
        for process in processes:
            if pipes:
                process.terminate()
            process.join()
        for pipe in pipes:
            pipe.close()


def _next(pipe: Pipe) -> LoadProgress | Exception:
    try:
        news = pipe.recv()
    except EOFError:
        return TenantryError(problem("rebuild-worker-killed"))
    return news if isinstance(news, (LoadProgress, Exception)) else TenantryError(str(news))


def _work(sources: Sources, schemas: dict[str, str], upto: int, shared: _Shared, rank: int, pipe: Pipe) -> None:
    """The main function of a worker. It sends its progress, and at the end its result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it ends us
    threading.Thread(target=_end_with_parent, name="watch-parent", daemon=True).start()
    spare_the_collector()
    try:
        pipe.send(load(sources, shared.job(schemas, upto, rank=rank), pipe.send))
    except TenantryError as error:
        pipe.send(error)
    except DBAPIError as error:
        pipe.send(Unavailable(problem("rebuild-worker-lost", reason=first_line(error))))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def first_line(error: DBAPIError) -> str:
    return next(iter(str(error.orig).splitlines()), type(error).__name__)
