"""Is somebody named who keeps the server from cleaning up, and does the work queue go on meanwhile?"""

from __future__ import annotations

import psycopg

from adapters.postgres import overview
from runtime.reports.waits import LONG_OPEN_SECONDS, server_waits
from tests.adapters.postgres.appending import NOW, event_log


def test_a_transaction_that_stays_open_is_named_and_the_work_queue_goes_on(migrated_database: str) -> None:
    """A dump, a session that was forgotten: the rows of each claim stay, and each claim steps over them."""
    reader = psycopg.connect(migrated_database, application_name="pg_dump")
    with reader, psycopg.connect(migrated_database, autocommit=True) as connection:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT FROM wakes")
        for _ in range(4):
            connection.execute(
                "INSERT INTO wakes (scope, due_at) SELECT 'site:' || n, %s FROM generate_series(1, 5000) n", [NOW]
            )
            connection.execute("DELETE FROM wakes")
        connection.execute("INSERT INTO wakes (scope, due_at) VALUES ('site:t-1', %s)", [NOW])
        with event_log(migrated_database) as log:
            assert [lease.scope for lease in log.claim(owner="a", limit=9, now=NOW, until=NOW)] == ["site:t-1"]
        server = overview.status(migrated_database)["database"]
    opened = server["open_longest"]
    assert "(pg_dump)" in opened["who"]
    assert list(server_waits(server)) == []
    (note,) = server_waits({**server, "open_longest": {**opened, "seconds": LONG_OPEN_SECONDS + 1}})
    assert note.startswith(f"{opened['who']} has been open in the database for 10")


def test_where_nobody_keeps_the_server_from_cleaning_up_nobody_is_named(migrated_database: str) -> None:
    assert overview.status(migrated_database)["database"]["open_longest"] is None
