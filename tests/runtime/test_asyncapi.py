"""AsyncAPI document: it is what the code says, what is sent has the form that it says, and the parser takes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from adapters.provisioners.replies import ReplyBody
from domain.event import Event
from domain.event_registry import REGISTRY
from domain.scope.state import ScopeConverged, ScopeFailed, ScopePutOnHold, StepCompleted, StepFailed
from domain.scope.steps import SCOPE_STEPS, CommerceResult, Level, Scope, Step
from projections.integration import OUTBOX, PROJECTION
from runtime.compose import asyncapi
from runtime.settings import Settings
from tests.domain.given import made
from tests.projections.given import at, ensured, history, removed, rows_of

DOCS = Path(__file__).parents[2] / "docs"
MODULES = Path(os.environ.get("ASYNCAPI_NODE_MODULES", "node_modules")).absolute()


def test_the_document_and_the_page_are_those_of_the_code() -> None:
    assert DOCS.joinpath("asyncapi.json").read_text() == asyncapi.text(), "run `make schemas`"
    assert DOCS.joinpath("reference", "events.md").read_text() == asyncapi.page(), "run `make schemas`"


def test_every_topic_of_the_settings_is_a_channel() -> None:
    topics = {field.default for name, field in Settings.model_fields.items() if name.endswith("_topic")}
    assert topics <= {channel["address"] for channel in asyncapi.document()["channels"].values()}


def sent() -> Iterator[Event]:
    """One event at least for each type that is sent."""
    site = Scope("site", "t1")
    result = CommerceResult(customer_id="c1", known=True, name="Ada Lovelace")
    yield ensured(site, Step.COMMERCE, result, generation=3)
    yield removed(site, Step.COMMERCE, generation=4)
    failed = {"step": 1, "direction": "ensure", "generation": 3, "attempt": 2, "reason": "slow", "retry_at": at(9)}
    yield made(StepFailed, {"tenant_id": "t1", "kind": "site", **failed})
    for kind in SCOPE_STEPS:
        of = {"tenant_id": "t1", "kind": kind, "key": "" if kind == "site" else "jira"}
        for level in get_args(Level):
            yield made(ScopeConverged, {**of, "level": level, "digest": "d", "data_lost": level == "open"})
        yield made(ScopeFailed, {**of, "digest": "d", "step": SCOPE_STEPS[kind][0], "reason": "taken"})
        yield made(ScopePutOnHold, {**of, "reason": "look"})


def misfits(value: Any, schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """Where a value has not the form that the schema gives: names, types, constants and choices."""
    if choices := schema.get("oneOf"):
        if all(list(misfits(value, each, place)) for each in choices):
            yield f"{place}: none of the choices"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{place}: is not {schema['const']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: {value} is not one of {schema['enum']}"
    types = {"object": dict, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    if "type" in schema and not isinstance(value, types[schema["type"]]):
        yield f"{place}: is no {schema['type']}"
        return
    if isinstance(value, dict):
        known = schema["properties"]
        yield from (f"{place}.{name}: is not described" for name in value.keys() - known.keys())
        yield from (f"{place}.{name}: is missing" for name in set(schema["required"]) - value.keys())
        for name in value.keys() & known.keys():
            yield from misfits(value[name], known[name], f"{place}.{name}")


def test_everything_that_is_sent_has_the_described_form_and_everything_described_is_sent() -> None:
    schemas = asyncapi.document()["components"]["schemas"]
    seen = set()
    for row in rows_of(OUTBOX, PROJECTION, history(*sent())).values():
        envelope = json.loads(str(row["payload"]))
        seen.add(envelope["type"])
        assert not list(misfits(envelope, schemas[envelope["type"]], envelope["type"]))
    assert seen == {type_ for type_, _, _ in asyncapi.types()}


def test_no_event_is_sent_that_this_test_does_not_know() -> None:
    known = {StepCompleted, StepFailed, ScopeConverged, ScopeFailed, ScopePutOnHold}
    assert REGISTRY.projected_by("integration") == known


def test_the_reply_is_the_one_that_is_read() -> None:
    reply = asyncapi.document()["components"]["schemas"]["reply"]
    assert set(reply["properties"]) == set(ReplyBody.model_fields)


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = asyncapi.document()
    for part in json.dumps(document).split('"$ref": "#/')[1:]:
        found: Any = document
        for name in part.partition('"')[0].split("/"):
            found = found[name]
        assert found


def test_the_asyncapi_parser_takes_the_document() -> None:
    node = shutil.which("node")
    if node is None or not MODULES.joinpath("@asyncapi", "parser").is_dir():
        pytest.skip("no node with @asyncapi/parser: `npm install @asyncapi/parser`, ASYNCAPI_NODE_MODULES names where")
    program = Path(__file__).parent / "asyncapi.mjs"
    ran = subprocess.run(
        [node, program, MODULES, DOCS / "asyncapi.json"], capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "5 channels, 31 messages" in ran.stdout
