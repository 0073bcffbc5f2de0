"""Telemetry: the log lines of a process, without secrets.

One pipeline for our own lines and the libraries': text for a person on stderr, or one JSON object a line for
a machine. The last step before rendering takes secrets out, so that no caller has to remember to; exceptions
are rendered without the values of local variables for the same reason. As text, what comes from outside is shown as
all foreign text is: no value can end its line, or colour it.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from runtime.foreign_text import visible

REDACTED = "[redacted]"
_SECRET_NAME = re.compile(
    r"^key$|(master|data|wrapped|private|api|secret|sealing)_?key|passw|passphrase|secret|credential|authorization"
    r"|(^|_)token$",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(\w://[^\s/:@]*):[^\s/@]*(?:/[^\s/@]*)*@")
_CONNINFO_PASSWORD = re.compile(r"\b(password|passwd|sslpassword)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&'\"]+)", re.IGNORECASE)
_CHATTY_LIBRARIES = ("psycopg", "psycopg.pool", "alembic", "sqlalchemy", "eventsourcing")


def configure_logging(
    *, level: str = "info", log_format: Literal["text", "json"] = "text", stream: TextIO | None = None
) -> None:
    """Set up logging for this process; a second call replaces the first. Libraries are heard from WARNING."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    target = stream or sys.stderr
    renderers: list[Processor]
    if log_format == "json":
        renderers = [structlog.processors.JSONRenderer(default=str, sort_keys=True)]
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=_is_coloured(target), exception_formatter=structlog.dev.plain_traceback
        )
        renderers = [shown, console]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                *renderers,
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a command may set the level after its modules were imported
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in _CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    # One refused connection is a dozen of its lines; what matters reaches us as an exception.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


def _is_coloured(target: TextIO) -> bool:
    return target.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shown(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Each name and value as visible text; a traceback's lines are indented, so that none looks like one of ours."""
    made: dict[str, object] = {}
    for name, value in event.items():
        if name in ("exception", "stack") and isinstance(value, str):
            made[name] = "\n".join(f"  {visible(line)}" for line in value.split("\n"))
        elif isinstance(value, str):
            made[visible(name)] = visible(value)
        elif value is None or isinstance(value, bool | int | float):
            made[visible(name)] = value
        else:
            made[visible(name)] = _Shown(visible(repr(value)))
    return made


class _Shown:
    """A value whose `repr` is text already."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the values of keys that name a secret, and passwords inside any text, at any depth."""
    return {name: _redacted(str(name), value) for name, value in event.items()}


def _redacted(name: str, value: object) -> object:
    if _SECRET_NAME.search(name):
        return REDACTED
    if isinstance(value, str):
        return _CONNINFO_PASSWORD.sub(rf"\1={REDACTED}", _URL_PASSWORD.sub(rf"\1:{REDACTED}@", value))
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", inner) for inner in value]
    return value
