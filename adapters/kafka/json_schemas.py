"""JSON Schemas of the messages that a producer sends.

The JSON Schemas (draft 2020-12) of the eight events as whole CloudEvents in structured mode, made from the
same models that read them. docs/schemas holds what `write` gives; a test keeps the two equal. What no schema can
say (a text's length in bytes, the rules across fields) is in docs/reference/wire.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.spec import SPECVERSION_V1_0

from adapters.kafka.cloudevents_reader import MAX_ID_BYTES, MAX_REVISION, MAX_SOURCE_BYTES
from domain.commands import COMMANDS, Command

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def write(directory: Path) -> list[Path]:
    """Make `<type>.json` for each of the eight types in `directory`; the paths written, sorted."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for type_ in sorted(COMMANDS):
        path = directory / f"{type_}.json"
        path.write_text(text(type_), encoding="utf-8")
        paths.append(path)
    return paths


def text(type_: str) -> str:
    """The schema of `type_` as it stands in its file. Raises KeyError for an unknown type."""
    return json.dumps(schema(type_), indent=2, ensure_ascii=False) + "\n"


def schema(type_: str) -> dict[str, Any]:
    """The schema of `type_`. Raises KeyError for an unknown type."""
    model = COMMANDS[type_]
    definitions = _definitions(model)
    return {
        "$schema": _DIALECT,
        "$id": f"urn:tenantry:event:{type_}",
        "title": type_,
        "description": "A CloudEvent 1.0 in structured mode, read by Tenantry.",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": SPECVERSION_V1_0},
            "id": {"type": "string", "minLength": 1, "maxLength": MAX_ID_BYTES},
            "source": {
                "type": "string",
                "format": "uri-reference",
                "minLength": 1,
                "maxLength": MAX_SOURCE_BYTES,
                "description": "With `id` it identifies the event for good.",
            },
            "type": {"const": type_},
            "time": {"type": "string", "format": "date-time"},
            "revision": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_REVISION,
                "description": "Commerce's own counter: the highest wins, whatever the order of arrival.",
            },
            "subject": {"type": "string", "minLength": 1},
            "datacontenttype": {"type": "string", "pattern": JSONFormat.JSON_CONTENT_TYPE_PATTERN.pattern},
            "dataschema": {"type": "string", "format": "uri", "minLength": 1},
            "data": {"$ref": f"#/$defs/{model.__name__}"},
        },
        "patternProperties": {
            "^(?!data$)[a-z0-9]{1,64}$": {
                "type": ["string", "integer", "boolean"],
                "description": "Other extension attributes are allowed and not read.",
            }
        },
        "additionalProperties": False,
        "$defs": definitions,
    }


def _definitions(model: type[Command]) -> dict[str, Any]:
    data = model.model_json_schema(ref_template="#/$defs/{model}")
    return dict(sorted({**data.pop("$defs", {}), model.__name__: data}.items()))
