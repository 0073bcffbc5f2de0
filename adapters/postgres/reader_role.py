"""The reader role: a group that may read those read models in which there is no person, and nothing else.

Each database has a group of its own, `NAME_reader`, which cannot log in: an administrator grants it to each reader.
Names and e-mail addresses are in `customers`, `identities` and one column of `configurations`; these it does not see.
A rebuild gives the next generation of a table the grants of the live one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from psycopg import errors, sql

from adapters.postgres.connection import connect
from adapters.postgres.errors import answering
from domain.errors import Unavailable

log = logging.getLogger(__name__)

READABLE: Final[Mapping[str, Sequence[str]]] = {
    "sites": (),
    "sites_base": (),
    "site_products": (),
    "licenses": (),
    "placements": (),
    "configurations": ("tenant_id", "product", "settings", "updated_at"),
    "provisionings": (),
    "contexts": (),
    "context_hosts": (),
    "context_log": (),
    "projection_positions": (),
}
"""The tables and views of the role, each with its columns; none: all (docs/reference/read-models.md)."""


def ensure_reader_role(url: str) -> str | None:
    """The name of the role, with its grants; None where this user may not make roles: then there is none."""
    try:
        with answering(), connect(url) as connection:
            row = connection.execute("SELECT current_database()").fetchone()
            database = str(row[0]) if row is not None else ""
            name = f"{database[:56]}_reader"
            role = sql.Identifier(name)
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is None:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), role))
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role))
            for table, columns in READABLE.items():
                of = sql.SQL(", ").join(map(sql.Identifier, columns))
                what = sql.SQL("SELECT ({})").format(of) if columns else sql.SQL("SELECT")
                connection.execute(sql.SQL("GRANT {} ON {} TO {}").format(what, sql.Identifier("public", table), role))
    except Unavailable as error:
        if not isinstance(error.__cause__, errors.InsufficientPrivilege):
            raise
        log.warning("this database user may not make the reader role: give it CREATEROLE, or make the role yourself")
        return None
    return name
