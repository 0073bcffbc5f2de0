"""Reference of the settings as Markdown, made from the models that read them.

docs/reference/settings.md holds what `make schemas` writes of it; a test keeps the two equal.
"""

from __future__ import annotations

import sys
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from runtime.settings import Settings, ShardSettings

_HEAD: Final = """\
# Settings

`TENANTRY_NAME` in the environment goes before `name` in `tenantry.toml`, which goes before the default.

An unknown name in `tenantry.toml` is an error. An unknown `TENANTRY_*` variable is one warning on stderr, since others
write into the environment as well; the variables that Kubernetes sets for a service named `tenantry` (`TENANTRY_PORT=tcp://...`,
`TENANTRY_SERVICE_HOST`, `TENANTRY_PORT_8080_TCP_ADDR` and so on) are known by their form and passed over in silence.
"""


def text() -> str:
    """The whole page."""
    return f"{_HEAD}\n{_table(Settings)}\n## A shard (`[[shards]]`)\n\n{_table(ShardSettings)}"


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
