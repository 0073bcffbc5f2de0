"""The reference of the two files that say what is sold and by which rules: catalogue and policy, as Markdown.

Names, types, bounds and defaults come from the models that read the files; the words come from the comments of the
files in the package, so each has one place. docs/reference/ holds what `make schemas` writes; a test keeps both equal.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from domain.catalog import CommandedExecutor, ForeignExecutor, Product
from domain.policy import Policy

Schema = Mapping[str, Any]

_POLICY_HEAD: Final = """\
# The policy

A TOML file that TENANTRY_POLICY_FILE names; without it, the one in the package counts. Every table below is a table of
the file, every row a key of it. What is not required may be left out; the value is that of the package. Durations are
ISO 8601: `P60D`, `PT30S`.
A file with an unknown key, or with a value beyond its bounds, is refused at the start by one line.
"""

_CATALOGUE_HEAD: Final = """\
# The catalogue

A TOML file that TENANTRY_CATALOG_FILE names; without it, the one in the package counts. It has one table for each
product, `[products.KEY]`. A file with an unknown key, or one that contradicts itself, is refused by one line.
"""

_CATALOGUE_RULES: Final = """\
A product names its family, or the host product that makes it an app; an app is never more open than its host, and its
host is no app. Editions are a table of their own, `[products.KEY.editions]`: `standard = ["boards", "permissions"]`.

## A step of another team (`[products.KEY.executors.STEP]`)

STEP is 2, 4, 5 or 7. Either `webhook` and `secret`, or `kafka`; more in
[Write a provisioner](../how-to/write-a-provisioner.md).
"""


def policy() -> str:
    """The page of the policy."""
    schema, words = Policy.model_json_schema(), _words("policy.toml", r"^(?:\[(\w+)\]|(\w+) = [^#]*# (.+))$")
    default = Policy.parse(_file("policy.toml"), source="policy.toml of the package").model_dump(mode="json")
    plain, tables = [], []
    for name, each in schema["properties"].items():
        model = _of(each, schema)
        if "properties" not in model:
            plain.append((name, each))
            continue
        rows = [
            _row(key, value, model, default[name].get(key), words.get(f"{name}.{key}", ""))
            for key, value in model["properties"].items()
        ]
        tables.append(f"## `[{name}]`\n\n{_table(rows)}")
    rows = [_row(name, each, schema, default[name], words.get(name, "")) for name, each in plain]
    return "\n".join([_POLICY_HEAD, "## The file\n", _table(rows), *tables])


def catalogue() -> str:
    """The page of the catalogue."""
    words = _words("catalog.toml", r"^()# (\w+)  +(.+)$")

    def table(*models: type[BaseModel]) -> str:
        rows = []
        for model in models:
            schema = model.model_json_schema()
            rows += [_row(key, each, schema, None, words.get(key, "")) for key, each in schema["properties"].items()]
        return _table(rows)

    parts = (_CATALOGUE_HEAD, "## A product (`[products.KEY]`)\n", table(Product), _CATALOGUE_RULES)
    return "\n".join([*parts, table(ForeignExecutor, CommandedExecutor)])


def _file(name: str) -> str:
    return files("domain").joinpath(name).read_text()


def _words(name: str, pattern: str) -> dict[str, str]:
    """What the comments of a file in the package say of its keys, with the table before a key of one."""
    found: dict[str, str] = {}
    table = ""
    for line in _file(name).splitlines():
        match = re.match(pattern, line) or re.match(r"^\[(\w+)\]", line)
        if match is None:
            continue
        if match[1]:
            table = f"{match[1]}."
        else:
            found[f"{table}{match[2]}"] = " ".join(match[3].split())
    return found


def _of(each: Schema, schema: Schema) -> Schema:
    """The model behind a reference."""
    reference = each.get("$ref") or next((one["$ref"] for one in each.get("allOf", ()) if "$ref" in one), None)
    return schema["$defs"][reference.rpartition("/")[2]] if reference else each


def _row(name: str, each: Schema, schema: Schema, default: Any, words: str) -> tuple[str, ...]:
    is_required = name in schema.get("required", ())
    value = "none" if default is None else f"`{default}`"
    if isinstance(default, list) and len(default) > 8:
        value = f"{len(default)} of them, see the file"
    default_text = "required" if is_required and default is None else f"required; {value}" if is_required else value
    return f"`{name}`", _kind(each), default_text, words


def _kind(each: Schema) -> str:
    """Type and bounds, in words."""
    for choice in each.get("anyOf", ()):
        if choice.get("type") != "null":
            return _kind(choice)
    if each.get("format") == "duration":
        return "duration"
    match each.get("type"):
        case "integer" | "number" as kind:
            bounds = [f"from {each['minimum']}"] if "minimum" in each else []
            bounds += [f"to {each['maximum']}"] if "maximum" in each else []
            return " ".join([{"integer": "whole number", "number": "number"}[kind], *bounds])
        case "array":
            return "list of texts"
        case "object":
            return "table"
        case _:
            return "text"


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = ["| key | what | value | what it says |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


PAGES: Final = {"policy.md": policy, "catalogue.md": catalogue}


if __name__ == "__main__":
    for page, text in PAGES.items():
        (Path(sys.argv[1]) / page).write_text(text(), encoding="utf-8")
