"""Which settings are there? The reference, as Markdown, made from the models that read them.

docs/reference/settings.md holds what `make schemas` writes of it; a test keeps the two equal.
"""

from __future__ import annotations

import sys
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from runtime.settings import Settings, Shard

_HEAD: Final = """\
# Settings

`TENANTRY_NAME` in the environment goes before `name` in `tenantry.toml`, which goes before the default.
"""


def text() -> str:
    """The whole page."""
    return f"{_HEAD}\n{_table(Settings)}\n## A shard (`[[shards]]`)\n\n{_table(Shard)}"


def _table(model: type[BaseModel]) -> str:
    lines = ["| setting | default | what it says |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {_default(field)} | {field.description or ''} |" for name, field in model.model_fields.items()
    ]
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    default = field.get_default(call_default_factory=True, validated_data={})
    return "none" if default in (None, (), {}) else str(default)


if __name__ == "__main__":
    sys.stdout.write(text())
