"""Script: several statements without parameters that go to the server in one message.

Each statement by itself is a way there and back, and half a dozen of them make a role. All of a script is in the
transaction that is open; the first statement that fails ends it.
"""

from __future__ import annotations

import psycopg
from psycopg import sql


def run_script(connection: psycopg.Connection, *statements: sql.Composable) -> None:
    """Run them one after the other; the text may not come from outside but quoted."""
    connection.execute(sql.SQL("; ").join(statements), prepare=False)
