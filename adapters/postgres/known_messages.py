"""Known messages: those in the database, applied (by source and id) or quarantined (by digest)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from adapters.postgres.arrays import byteas, texts
from adapters.postgres.connection import connect
from adapters.postgres.errors import answering
from application.inbound import Inbound, Readable


class KnownMessages:
    """Use as a context manager, or `close` it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def unknown(self, messages: Sequence[Inbound]) -> list[Inbound]:
        """Those of the messages, in their order, that were neither taken in nor quarantined. Raises Unavailable.

        A message whose source and id came with other content is known by its quarantine only. A quarantined message is
        known by its digest, and not by its offset: a topic that was created anew counts from 0 again.
        """
        readable = [message for message in messages if isinstance(message, Readable)]
        taken = self._rows(
            "SELECT i.source, i.id, i.digest FROM unnest(%b::text[], %b::text[]) AS k (source, id)"
            " JOIN incoming i ON i.source = k.source AND i.id = k.id",
            (texts([message.source for message in readable]), texts([message.id for message in readable])),
        )
        digests = {(source, id_): bytes(digest) for source, id_, digest in taken}
        doubtful = [
            message
            for message in messages
            if not (isinstance(message, Readable) and digests.get((message.source, message.id)) == message.digest)
        ]
        if not doubtful:
            return []
        rows = self._rows(
            "SELECT DISTINCT digest FROM quarantine WHERE digest = ANY(%b)",
            (byteas([message.digest for message in doubtful]),),
        )
        quarantined = {bytes(digest) for (digest,) in rows}
        return [message for message in doubtful if message.digest not in quarantined]

    def _rows(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with answering():
            if self._session is None or self._session.closed:
                self._session = connect(self._url, autocommit=True)
            return self._session.execute(query.encode(), parameters, prepare=True).fetchall()
