"""Do the published schemas say what the code reads?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.kafka import json_schemas as schemas
from domain.commands import COMMANDS

PUBLISHED = Path(__file__).parents[3] / "docs" / "schemas"


def test_the_published_schemas_are_those_of_the_code(tmp_path: Path) -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in schemas.write(tmp_path)}
    published = {path.name: path.read_text(encoding="utf-8") for path in PUBLISHED.glob("*.json")}
    assert published == written, "run `make schemas`"


def test_there_is_a_schema_for_each_type() -> None:
    assert {path.stem for path in PUBLISHED.glob("*.json")} == set(COMMANDS)


@pytest.mark.parametrize("type_", COMMANDS)
def test_a_schema_is_of_a_whole_event_and_refers_to_nothing_outside(type_: str) -> None:
    text = schemas.text(type_)
    schema = json.loads(text)
    assert schema["properties"]["type"] == {"const": type_}
    assert set(schema["required"]) == {"specversion", "id", "source", "type", "data"}
    references = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    assert {reference.removeprefix("#/$defs/") for reference in references} <= set(schema["$defs"])


@pytest.mark.parametrize("type_", COMMANDS)
def test_the_data_of_a_schema_refuses_unknown_fields(type_: str) -> None:
    schema = schemas.schema(type_)
    assert schema["$defs"][COMMANDS[type_].__name__]["additionalProperties"] is False
