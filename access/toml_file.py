"""TOML files that people review (`edge.toml`, `egress.toml`): read into a model, the first fault named in one line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from domain.errors import UsageError

STRICT: Final = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _address(text: str) -> str:
    found = re.fullmatch(r"(?:\[[0-9a-f:.]+\]|[0-9a-z.-]+):([0-9]{1,5})", text)
    if found is None or not 0 < int(found[1]) < 2**16:
        raise ValueError("write it as host:port, an IPv6 address in brackets")
    return text


Address = Annotated[str, AfterValidator(_address)]
"""`host:port` of a machine."""

M = TypeVar("M", bound=BaseModel)


def split(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; an IPv6 address loses its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def read_model(model: type[M], file: Path) -> M:
    """What the file says. Raises UsageError with the first thing that is wrong."""
    try:
        with file.open("rb") as opened:
            content = tomllib.load(opened)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}: name another with --file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not TOML: {error}") from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        where = ".".join(str(each + 1 if isinstance(each, int) else each) for each in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{file}: {where}: {message}" if where else f"{file}: {message}") from None
