"""Part of the adopted configuration: a value that people write in files and settings, so that it is validated whole."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigurationPart(BaseModel):
    """A frozen value, compared by its content. An unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
