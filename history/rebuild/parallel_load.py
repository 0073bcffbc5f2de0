"""Parallel load of one log by several processes.

Each worker loads its share of the buckets, and sends its progress through a pipe. Workers end when the process that
started them is gone; when one of them fails or is killed, the others are ended, and the caller gets the error.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait

from sqlalchemy.exc import DBAPIError

from domain.errors import TenantryError, Unavailable, problem
from history.rebuild.loading import Job, LoadProgress, Sources, load, spare_the_collector
from projections.base import BUCKETS


def load_together(
    sources: Sources, schemas: Mapping[str, str], upto: int, *, workers: int, say: Callable[[LoadProgress], None]
) -> LoadProgress:
    """Load the log up to a position into the schema of each projection; the joint result of all workers.

    `say` gets the joint progress of all workers. Raises TenantryError.
    """
    shares = [tuple(range(rank, BUCKETS, workers)) for rank in range(min(workers, BUCKETS))]
    jobs = [Job(dict(schemas), share, upto) for share in shares]
    progress: dict[int, LoadProgress] = {}

    def hear(rank: int, news: LoadProgress) -> None:
        progress[rank] = news
        done = sum(each.position * len(jobs[which].buckets) // BUCKETS for which, each in progress.items())
        say(LoadProgress(done, sum(each.events for each in progress.values()), {}))

    if len(jobs) == 1:
        gc.disable()  # see spare_the_collector
        try:
            hear(0, load(sources, jobs[0], lambda news: hear(0, news)))
        finally:
            gc.enable()
    else:
        _side_by_side(sources, jobs, hear)
    failures = {name: why for each in progress.values() for name, why in each.failures.items()}
    return LoadProgress(upto, sum(each.events for each in progress.values()), failures, done=True)


def _side_by_side(sources: Sources, jobs: Sequence[Job], hear: Callable[[int, LoadProgress], None]) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["history.rebuild.replay"])  # what it imports is there for every worker
    pipes: dict[Pipe, int] = {}
    processes = []
    try:
        for rank, job in enumerate(jobs):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(sources, job, theirs), daemon=True)
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


def _work(sources: Sources, job: Job, pipe: Pipe) -> None:
    """The main function of a worker. It sends its progress, and at the end its result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it ends us
    threading.Thread(target=_end_with_parent, name="watch-parent", daemon=True).start()
    spare_the_collector()
    try:
        pipe.send(load(sources, job, pipe.send))
    except TenantryError as error:
        pipe.send(error)
    except DBAPIError as error:
        pipe.send(Unavailable(problem("rebuild-worker-lost", reason=first_line(error))))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def first_line(error: DBAPIError) -> str:
    return next(iter(str(error.orig).splitlines()), type(error).__name__)
