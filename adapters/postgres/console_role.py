"""The console's role: reads what the console's pages show, changes nothing, and sees no person.

Each database has a group of its own, `NAME_console`, which cannot log in. A session of the console takes it with its
first message to the server, so that a page that is wrong cannot write, whatever it asks.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from adapters.postgres.connection import connect, parsed
from adapters.postgres.errors import answering

HIDDEN: Final = frozenset({"customers", "identity_users", "identities", "configurations"})
"""Tables with persons in the clear."""


def ensure_console_role(url: str) -> str:
    """The name of the role, with its grants as they are now; on a server that takes no writes, as they were.

    Raises Unavailable where this user may not make roles.
    """
    with answering(), connect(url) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
        database = str(row[0]) if row is not None else ""
        name = name_of(database)
        role = sql.Identifier(name)
        if _is_read_only(connection):
            return name
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
        on = sql.Identifier(database)
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(on, role))
        connection.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM {}").format(on, role))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role))
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER WITH SET TRUE").format(role))
        things = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')"
        ).fetchall()
        for (thing,) in things:
            if thing not in HIDDEN:
                table = sql.Identifier("public", thing)
                connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(table, role))
    return name


def _is_read_only(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("SELECT current_setting('transaction_read_only') = 'on'").fetchone()
    return row is not None and bool(row[0])


def name_of(database: str) -> str:
    return f"{database[:55]}_console"


def with_role(url: str, role: str) -> str:
    """The address by which a session has the role from its beginning."""
    address = parsed(url)
    given = str(address.get("options") or "")
    return make_conninfo("", **{**address, "options": f"{given} -c role={_quoted(role)}".strip()})


def _quoted(role: str) -> str:
    """A value in libpq's `options`: blanks and backslashes are escaped."""
    return role.replace("\\", "\\\\").replace(" ", "\\ ")
