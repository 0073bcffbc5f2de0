"""Manifest of an export: what the export contains.

A JSON file beside the export (`FILE.manifest.json`; in a folder of Parquet `manifest.json`). It is written before the
export gets its name. So an export that has its name is complete and has its manifest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from domain.errors import UsageError, problem

SUFFIX: Final = ".manifest.json"


class Manifest(BaseModel):
    """`upto` is how far the log went: all events up to there that were asked for are in the export."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["tenantry-export"] = "tenantry-export"
    version: Literal[1] = 1
    form: Literal["parquet", "jsonl", "csv"]
    events: int
    first: int | None
    last: int | None
    upto: int
    tenant: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    with_proofs: bool = False
    checkpoint: str | None = None
    """The newest checkpoint of the log then, as a C2SP note; proofs lead to it."""

    @property
    def is_whole(self) -> bool:
        """Whether the export contains the whole log."""
        return self.tenant is None and self.since is None and self.until is None

    def text(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def of(cls, export: Path) -> Self:
        """The manifest of an export. Raises UsageError where there is none that can be read."""
        path = beside(export)
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UsageError(problem("manifest-unreadable", path=path, reason=error.strerror)) from None
        except ValidationError:
            raise UsageError(problem("manifest-invalid", path=path)) from None


def beside(export: Path) -> Path:
    return export.with_name(export.name + SUFFIX)
