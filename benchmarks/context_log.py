"""How long do contexts take from the log? The context projector over a log of its own, until it has caught up."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from functools import partial

from application.ports.encryption import EncryptionKeys
from benchmarks.harness import our_database, server, settle, together
from benchmarks.population import EVENTS_OF_A_LIFE, Row, lives, load, parts
from history.rebuild.loading import spare_the_collector
from runtime.compose.contexts import context_rules_of, context_store_of
from runtime.compose.projector import log_reader_of, mark_listener_of
from workers.context_projector import ContextProjector


def seconds_of(tenants: int) -> float:
    """For so many tenants of three events each, which is few: the saga has recorded nothing yet."""
    with server() as postgres:
        url = our_database(postgres)
        load(url, bought, range(tenants))
        settle(url)
        (worked,) = together(_project, [(url,)])
    return float(worked.value)


def bought(keys: EncryptionKeys, numbers: range) -> Iterator[Row]:
    """What commerce says of each tenant; the steps of a life have no intents here, which no document is made from."""
    for number, row in enumerate(lives(keys, numbers)):
        if number % EVENTS_OF_A_LIFE < 3:
            yield row


def _project(url: str) -> Generator[None, None, float]:
    with parts(url) as ours:
        projector = ContextProjector(
            log_reader_of(ours),
            context_store_of(ours),
            configuration=ours.configuration,
            rules_of=partial(context_rules_of, ours),
            batch=ours.settings.projector_batch,
            poll_seconds=ours.settings.poll_seconds,
            listener=mark_listener_of(ours),
        )
        spare_the_collector()
        yield
        started = time.monotonic()
        while projector.step():
            pass
        return time.monotonic() - started
