"""PostgreSQL's errors, classed by SQLSTATE: outages that may pass, conflicts, and faults of ours.

Every statement and every attempt to connect ends here when it fails; no other file decides what an error means.

    psycopg.Error  ──┐                  ┌─▶ Unavailable   may pass: the worker waits, `why` says what for
    SQLAlchemy's   ──┼─▶ by SQLSTATE ───┼─▶ Contended     two transactions met: again at once, or after a pause
    eventsourcing's ─┘                  ├─▶ Conflict      another transaction recorded first: load and decide again
                                        └─▶ Fault         the statement itself is wrong: a bug

libpq keeps no SQLSTATE of a connection that was refused, only the server's sentence, in the server's language. So the
English sentences are known here by their words; any other counts as a server that does not answer, which may pass too.

A message holds the server's primary line, never the line of details, which may hold a row's values, and
never the address, which may hold a password.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg

from domain.errors import Conflict, Contended, Fault, TenantryError, Unavailable

_START: Final = "start it, or {check}"


@dataclass(frozen=True, slots=True)
class _Class:
    """`kind` of our error; `why`, its short stable name; the sentence after the part's name, and what helps."""

    kind: type[TenantryError]
    why: str
    sentence: str
    remedy: str


_LOST: Final = _Class(Unavailable, "lost", "does not answer", _START)
_REFUSED: Final = _Class(Unavailable, "refused", "does not answer", _START)
_RESTARTING: Final = _Class(Unavailable, "restarting", "does not answer", "it is starting, stopping or recovering")
_FULL: Final = _Class(
    Unavailable, "full", "is out of disk space", "free space on its disk; nothing that was recorded is lost"
)
_TOO_MANY_CONNECTIONS: Final = _Class(
    Unavailable, "too-many-connections", "has too many connections", "raise its max_connections, or end some of them"
)
_MEMORY: Final = _Class(Unavailable, "resources", "is out of memory or of a configured limit", "see its log")
_READ_ONLY: Final = _Class(
    Unavailable, "read-only", "is read-only", "promote it, end its maintenance, or name the server that takes writes"
)
_SLOW: Final = _Class(Unavailable, "time-out", "took too long", "see what else it is busy with")
_SICK: Final = _Class(Unavailable, "server-error", "failed by itself", "see its log and its disk")
_BUSY: Final = _Class(Contended, "contended", "let another transaction go first", "the same is tried again")
_SECOND: Final = _Class(Conflict, "conflict", "holds what another transaction recorded first", "decide again")
_LOGIN: Final = _Class(Unavailable, "login", "does not let us in", "correct the user, its password or pg_hba.conf")
_NO_DATABASE: Final = _Class(Unavailable, "no-database", "does not answer", "create it, or {check}")
_NO_RIGHT: Final = _Class(Unavailable, "no-right", "refuses what its user lacks a right for", "GRANT it")
_NO_TABLES: Final = _Class(
    Unavailable, "not-migrated", "lacks a table that this version needs", "run `tenantry migrate`"
)
_OURS: Final = _Class(
    Fault, "fault", "refused a statement of Tenantry's own", "this is a fault in Tenantry, the log holds its traceback"
)

_BY_STATE: Final[dict[str, _Class]] = {
    # Longest match wins: five characters are one state, two are a class of them.
    "08": _LOST,
    "22": _OURS,
    "23": _OURS,
    "23505": _SECOND,  # unique_violation
    "23503": _SECOND,  # foreign_key_violation: what it leads to went meanwhile
    "23P01": _SECOND,  # exclusion_violation
    "25006": _READ_ONLY,
    "25P03": _SLOW,  # idle_in_transaction_session_timeout
    "25P04": _SLOW,  # transaction_timeout
    "28": _LOGIN,
    "3D000": _NO_DATABASE,
    "40": _BUSY,
    "40003": _LOST,  # statement_completion_unknown
    "42501": _NO_RIGHT,
    "42P01": _NO_TABLES,
    "42703": _NO_TABLES,  # undefined_column: an older schema
    "53": _MEMORY,
    "53100": _FULL,
    "53300": _TOO_MANY_CONNECTIONS,
    "55": _OURS,
    "55006": _BUSY,  # object_in_use
    "55P03": _BUSY,  # lock_not_available
    "57": _RESTARTING,
    "57014": _SLOW,  # query_canceled
    "57P05": _LOST,  # idle_session_timeout
    "58": _SICK,
    "58030": _SICK,
    "72": _SLOW,  # snapshot_too_old
    "F0": _SICK,
    "XX": _SICK,
}

_BY_WORDS: Final[tuple[tuple[str, _Class], ...]] = (
    ("too many clients|connection slots are reserved|too many connections", _TOO_MANY_CONNECTIONS),
    ("starting up|shutting down|recovery mode|not (yet |currently )?accepting connections", _RESTARTING),
    ("session is read-only|session is not read-only|server is in hot standby|not in hot standby", _READ_ONLY),
    (r"authentication failed|no pg_hba\.conf entry|pg_hba\.conf rejects|no password supplied", _LOGIN),
    (r'role "[^"]*" (does not exist|is not permitted to log in)', _LOGIN),
    (r'database "[^"]*" does not exist', _NO_DATABASE),
    ("No space left on device", _FULL),
    ("timeout expired|timed out", _Class(Unavailable, "time-out", "does not answer", _START)),
    ("refused|No such file|could not translate|Name or service|No route|unreachable", _REFUSED),
)


@contextmanager
def answering(part: str = "the database") -> Iterator[None]:
    """Errors of PostgreSQL within the block as ours, with the name of the part; all others pass as they are."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (psycopg.Error, *_sqlalchemy(), *_eventsourcing())):
            raise
        raise translated(error, part) from error


def translated(error: BaseException, part: str = "the database") -> TenantryError:
    """What the error of a driver or library means, in one line. Raises nothing."""
    cause = _driver_error(error)
    if isinstance(cause, TenantryError):
        return cause
    found = _class_of(cause)
    state = f", SQLSTATE {cause.sqlstate}" if isinstance(cause, psycopg.Error) and cause.sqlstate else ""
    check = "check TENANTRY_DATABASE_URL" if part.startswith("the ") else "correct its url"
    remedy = found.remedy.format(check=check)
    text = f"{part} {found.sentence} ({server_message(cause)}{state}): {remedy}"
    return found.kind(text, why=found.why) if issubclass(found.kind, Unavailable) else found.kind(text)


def server_message(error: BaseException) -> str:
    """The message of the server, or of the connection: one line without a row's values, an address or a password."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return _one_line(error.diag.message_primary)
    if isinstance(error, psycopg.OperationalError) and str(error):
        # Of several hosts that were tried, the last says why; libpq's lines begin with what could not be done.
        return _one_line(str(error).partition("\nMultiple connection attempts")[0].partition("\n\t")[0])
    if isinstance(error, _eventsourcing()) and str(error):
        return _one_line(str(error).splitlines()[0])
    return type(error).__name__


def state_of(error: BaseException) -> str | None:
    """The SQLSTATE under an error of ours, of a library or of the driver; None where there is none."""
    seen: BaseException | None = error
    while seen is not None:
        cause = _driver_error(seen)
        if isinstance(cause, psycopg.Error):
            return cause.sqlstate
        seen = seen.__cause__
    return None


def outcome_is_unknown(error: BaseException) -> bool:
    """Whether the connection broke before the server answered: the statement may have been committed."""
    cause = _driver_error(error)
    if not isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)):
        return False
    return cause.sqlstate is None or cause.sqlstate[:2] == "08" or cause.sqlstate in ("57P01", "57P02", "40003")


def is_worth_keeping(error: BaseException) -> bool:
    """Whether the session in which it was raised may be used again: it executed the statement, and was second."""
    cause = _driver_error(error)
    if isinstance(cause, psycopg.Error):
        return _class_of(cause) in (_SECOND, _BUSY)
    return isinstance(cause, Conflict)


def _driver_error(error: BaseException) -> BaseException:
    """The psycopg error, or the error of ours, that SQLAlchemy or the eventsourcing library has wrapped."""
    if isinstance(error, _sqlalchemy()) and isinstance(wrapped := getattr(error, "orig", None), BaseException):
        return wrapped
    inner = error.__cause__
    while isinstance(error, _eventsourcing()) and isinstance(inner, _eventsourcing()) and inner is not error:
        error, inner = inner, inner.__cause__
    return inner if isinstance(error, _eventsourcing()) and isinstance(inner, (psycopg.Error, TenantryError)) else error


def _class_of(error: BaseException) -> _Class:
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state is not None:
        return _BY_STATE.get(state) or _BY_STATE.get(state[:2]) or _OURS
    if isinstance(error, _eventsourcing("IntegrityError")):  # the library's, raised by us: a row was not as expected
        return _SECOND
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        text = str(error)
        return next((each for words, each in _BY_WORDS if re.search(words, text)), _LOST)
    return _OURS


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _sqlalchemy() -> tuple[type[Exception], ...]:
    """The class in which SQLAlchemy wraps the driver's errors."""
    return _imported("sqlalchemy.exc", "DBAPIError")


def _eventsourcing(name: str = "PersistenceError") -> tuple[type[Exception], ...]:
    """The class in which the eventsourcing library wraps the driver's errors, or another of its classes."""
    return _imported("eventsourcing.persistence", name)


def _imported(module: str, name: str) -> tuple[type[Exception], ...]:
    """None where the process has not imported the library: it raised nothing then, and costs 0.2 s to import."""
    found = getattr(sys.modules.get(module), name, None)
    return (found,) if found is not None else ()
