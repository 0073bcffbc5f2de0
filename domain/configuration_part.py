"""Part of the adopted configuration: a value that people write in files and settings, so that it is validated whole."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, ValidationError

from domain.errors import UsageError, problem


class ConfigurationPart(BaseModel):
    """A frozen value, compared by its content. An unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@contextmanager
def reading(file: str, source: str) -> Iterator[None]:
    """For a block that reads and validates TOML: UsageError names the `file`, its `source` and what is wrong first."""
    try:
        yield
    except tomllib.TOMLDecodeError as error:
        raise UsageError(problem("file-not-toml", file=file, source=source, detail=error)) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(problem("file-invalid", file=file, source=source, place=place, detail=first["msg"])) from None
