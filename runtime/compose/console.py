"""Console: what its pages read with, what its acts are carried out with, and what tells it that the log has moved.

Pages read as a role of the database that can change nothing. Acts use the process's own login, and the services that
the commands use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapters.postgres.console_feed import MovementReader
from adapters.postgres.console_reads import PAGE, ConsoleReader
from adapters.postgres.console_role import ensure_console_role, name_of, with_role
from adapters.postgres.high_water import MarkListener
from domain.errors import Unavailable, UsageError, problem
from runtime.compose.process import Process

if TYPE_CHECKING:
    from adapters.postgres.connection import Limits
    from runtime.compose.parts import Parts
    from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """`reader` and `reading` make what one page reads with, `acting` what all acts share; all are closed by the taker.

    A reader answers the pages that need no event; the parts bring the log, the catalogue and the read models.
    """

    settings: Settings
    reader: Callable[[], ConsoleReader]
    reading: Callable[[], Parts]
    acting: Callable[[], Parts]
    movements: Callable[[], MovementReader]
    listener: Callable[[], MarkListener]


def console_parts_of(process: Process) -> ConsoleParts:
    """Makes the role that reads, where it is not there. Raises UsageError where this user may not."""
    settings, endpoints = process.settings, process.endpoints
    read_url = _read_url(process)

    def parts(url: str, limits: Limits | None = None) -> Parts:
        from dataclasses import replace  # noqa: PLC0415

        from runtime.compose.parts import Parts  # noqa: PLC0415 - the live page needs no event, and no memory for them

        return Parts(settings, replace(endpoints, database_url=url), limits=limits)

    return ConsoleParts(
        settings,
        reader=lambda: ConsoleReader(read_url),
        reading=lambda: parts(read_url, PAGE),
        acting=lambda: parts(endpoints.database_url),
        movements=lambda: MovementReader(read_url),
        listener=lambda: MarkListener(read_url),
    )


def _read_url(process: Process) -> str:
    if process.settings.console_read_url is not None:
        return process.settings.console_read_url.get_secret_value()
    url = process.endpoints.database_url
    try:
        return with_role(url, ensure_console_role(url))
    except Unavailable as error:
        if getattr(error.__cause__, "sqlstate", None) != "42501":
            raise
        raise UsageError(problem("console-role-impossible", role=name_of("DATABASE"))) from error
