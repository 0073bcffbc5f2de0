"""Password check: the password of a login role on its shard, compared with the one that `role_password` derives.

A SCRAM verifier says so without a login: it is computed from the password, salt and count again (RFC 5803). Only an
administrator who may read pg_authid has the verifiers. Any other one has a session opened as the role; where the server
lets everybody in without a password that proves nothing, and our own servers demand one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from adapters.postgres.connection import connect
from domain.errors import TenantryError

_VERIFIER: Final = re.compile(r"SCRAM-SHA-256\$([0-9]{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


_ROUNDS: Final = 4096
_SALT_BYTES: Final = 16


def verifier_of(password: str) -> str:
    """What the server keeps of the password (of ASCII), as libpq would make it, in half of its time, and while other
    threads run."""
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = (base64.b64encode(each).decode() for each in (salt, stored, hmac.digest(salted, b"Server Key", "sha256")))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ROUNDS, *parts)


def verifies(verifier: str | None, password: str) -> bool:
    """Whether the verifier was made from that password (of ASCII); what is no SCRAM verifier was not."""
    found = _VERIFIER.fullmatch(verifier or "")
    if found is None:
        return False
    try:
        salt, stored = base64.b64decode(found[2], validate=True), base64.b64decode(found[3], validate=True)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, int(found[1]))
    except (binascii.Error, ValueError):
        return False
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), stored)


def changed(connection: psycopg.Connection, passwords: Mapping[str, str], *, url: str) -> frozenset[str]:
    """Those of the roles whose password is another one. `passwords`: role -> the derived one; `url`: the shard's.

    A role that is not there, or may not log in where only a login tells, is not among them.
    """
    if not passwords:
        return frozenset()
    may_read = connection.execute("SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')").fetchone()
    if may_read is not None and may_read[0]:
        rows = connection.execute(
            "SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname = ANY (%s)", [list(passwords)]
        ).fetchall()
        return frozenset(role for role, verifier in rows if not verifies(verifier, passwords[role]))
    rows = connection.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s) AND rolcanlogin", [list(passwords)]
    ).fetchall()
    database = connection.info.dbname
    return frozenset(role for (role,) in rows if _is_refused(url, database, role, passwords[role]))


def _is_refused(url: str, database: str, role: str, password: str) -> bool:
    """Whether the server refuses the password. Any other error says nothing of it."""
    try:
        connect(make_conninfo(url, user=role, password=password, dbname=database)).close()
    except TenantryError as error:
        return "password authentication failed" in str(error.__cause__)
    return False
