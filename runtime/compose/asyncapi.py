"""AsyncAPI document of all topics: which messages each carries, of what form, and who sends and who receives them.

docs/asyncapi.json and docs/reference/events.md hold what `python -m runtime.compose.asyncapi docs` writes; `make
schemas` does that, and a test keeps them equal. The schemas are those of the models that read and write the messages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from adapters.kafka import json_schemas
from adapters.provisioners.replies import ReplyBody
from domain.commands import COMMANDS
from domain.scope.steps import SCOPE_STEPS, Step
from projections.integration import SOURCE
from runtime.settings import Settings

_STRUCTURED: Final = "application/cloudevents+json"
_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_TIME: Final = {"type": "string", "format": "date-time"}
_STEP: Final = {
    "type": "object",
    "required": ["number", "name"],
    "properties": {
        "number": {"type": "integer", "minimum": 1, "maximum": 7},
        "name": {"enum": [step.name.lower() for step in Step]},
    },
}
_SCOPE: Final = {
    "type": "object",
    "required": ["kind", "key"],
    "properties": {"kind": {"enum": list(SCOPE_STEPS)}, "key": _TEXT},
}
_LEVEL: Final = {"enum": ["open", "closed", "retained", "absent"]}
_DIRECTION: Final = {"enum": ["ensure", "remove"]}
_POSITION: Final = {
    "type": "integer",
    "description": "The place of the event in the log: a freshness token. Older events do not have it.",
}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"oneOf": [dict(schema), {"type": "null"}]}


_CONVERGED: Final = {"level": _LEVEL, "digest": _TEXT, "data_lost?": {"type": "boolean"}}

OUTGOING: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "step.completed": ("a step was carried out", {"step": _STEP, "generation": _COUNT}),
    "step.undone": ("a step was removed", {"step": _STEP, "generation": _COUNT}),
    "step.failed": (
        "an attempt of a step failed",
        {
            "step": _STEP,
            "direction": _DIRECTION,
            "generation": _COUNT,
            "attempt": _COUNT,
            "reason": _TEXT,
            "retry_at": _or_null(_TIME),
        },
    ),
    "{kind}.opened": ("everything is as licensed, and open", _CONVERGED),
    "{kind}.closed": ("closed, everything kept", _CONVERGED),
    "{kind}.retained": ("deactivated, its data kept", _CONVERGED),
    "{kind}.purged": ("nothing is left", _CONVERGED),
    "{kind}.failed": ("failed for good: what was there goes on as it was", {"step": _STEP, "reason": _TEXT}),
    "{kind}.held": ("an operator must look", {"step": _or_null(_STEP), "reason": _TEXT}),
}
"""What we tell: the type without its first part, when, and its data beside the scope; `?` ends the name of an optional
field."""

_ORDER: Final = {
    "type": "object",
    "required": ["idempotency_key", "tenant_id", "scope", "product", "step", "direction", "generation", "wish"],
    "properties": {
        **dict.fromkeys(("idempotency_key", "tenant_id", "product", "family"), _TEXT),
        "scope": {**_SCOPE, "properties": {**_SCOPE["properties"], "tenant_id": _TEXT}},  # type: ignore[dict-item]
        "step": {"type": "integer", "minimum": 1, "maximum": 7},
        "direction": _DIRECTION,
        "generation": _COUNT,
        "region": _or_null(_TEXT),
        "wish": {"type": "object", "description": "What should be true after the step."},
        "facts": _or_null({"type": "object", "description": "What Tenantry tells of the step once it is done."}),
    },
}


def types() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every type of integration event: name, when, data beside the scope."""
    for name, (when, fields) in OUTGOING.items():
        for kind in SCOPE_STEPS if "{kind}" in name else ("",):
            yield f"tenantry.{name.format(kind=kind)}", when, fields


def document() -> dict[str, Any]:
    """The whole document, AsyncAPI 3.0.0."""
    topics = {name: field.default for name, field in Settings.model_fields.items() if name.endswith("_topic")}
    schemas: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for type_ in sorted(COMMANDS):
        schemas |= (defined := _embedded(json_schemas.schema(type_)))[1]
        schemas[type_] = defined[0]
        messages[type_] = _message(type_, f"Taken in: {type_}", _STRUCTURED)
    for type_, when, fields in types():
        schemas[type_] = _outgoing(type_, fields)
        messages[type_] = _message(type_, when, _STRUCTURED)
    schemas["order"] = _ORDER
    reply, defined_by_reply = _embedded(ReplyBody.model_json_schema(ref_template="#/$defs/{model}"))
    schemas |= {**defined_by_reply, "reply": reply}
    messages["order"] = _message("order", "Asks a provisioner of another team for a step", "application/json")
    messages["reply"] = _message("reply", "What a provisioner of another team says of an order", "application/json")
    published = [type_ for type_, _, _ in types()]
    customer = [type_ for type_ in COMMANDS if type_.startswith("commerce.")]
    carried = {
        "commerce": (
            topics["commerce_topic"],
            customer,
            "receive",
            "What commerce says of customers. Key: customer id.",
        ),
        "lifecycle": (
            topics["lifecycle_topic"],
            [type_ for type_ in COMMANDS if type_ not in customer],
            "receive",
            "What becomes of tenants, products and licenses. Key: tenant id.",
        ),
        "provisioning": (topics["provisioning_topic"], published, "send", "Integration events. Key: tenant id."),
        "replies": (topics["replies_topic"], ["reply"], "receive", "Replies of provisioners of other teams."),
        "orders": ("{topic}", ["order"], "send", "Orders to a provisioner of another team. Key: the scope."),
    }
    channels = {name: _channel(address, names, text) for name, (address, names, _, text) in carried.items()}
    channels["orders"]["parameters"] = {"topic": {"description": "The topic that the catalogue names for the product."}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tenantry",
            "version": version("tenantry"),
            "description": "All topics of Tenantry; the names are the defaults of the settings.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _STRUCTURED,
        "channels": channels,
        "operations": {
            f"{action}-{name}": {"action": action, "channel": {"$ref": f"#/channels/{name}"}, "summary": text}
            for name, (_, _, action, text) in carried.items()
        },
        "components": {"messages": messages, "schemas": dict(sorted(schemas.items()))},
    }


def _channel(address: str, names: list[str], text: str) -> dict[str, Any]:
    refs = {_named(name): {"$ref": f"#/components/messages/{name}"} for name in sorted(names)}
    return {"address": address, "description": text, "messages": refs}


def _named(type_: str) -> str:
    return type_.replace(".", "-")


def _message(type_: str, summary: str, content_type: str) -> dict[str, Any]:
    return {
        "name": type_,
        "summary": summary,
        "contentType": content_type,
        "payload": {"$ref": f"#/components/schemas/{type_}"},
    }


def _embedded(schema: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema and what it defines, each with references into this document."""
    text = json.dumps({name: value for name, value in schema.items() if name not in ("$schema", "$id")})
    whole: dict[str, Any] = json.loads(text.replace('"#/$defs/', '"#/components/schemas/'))
    return whole, whole.pop("$defs", {})


def _outgoing(type_: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The whole CloudEvent."""
    data = {"tenant_id": _TEXT, "scope": _SCOPE, **fields, "position?": _POSITION}
    fixed = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid", "description": "The same at each repetition."},
        "source": {"const": SOURCE},
        "type": {"const": type_},
        "subject": {"type": "string", "description": "The scope: site:T, family:T:KEY or product:T:KEY."},
        "time": {**_TIME, "description": "When the event was recorded."},
        "datacontenttype": {"const": "application/json"},
        "partitionkey": {"type": "string", "description": "The tenant id."},
    }
    body = {
        "type": "object",
        "required": [name for name in data if not name.endswith("?")],
        "properties": {name.removesuffix("?"): schema for name, schema in data.items()},
    }
    return {"type": "object", "required": [*fixed, "data"], "properties": {**fixed, "data": body}}


# -- the page ------------------------------------------------------------------------------------------------------

_PAGE: Final = """\
# Integration events

What Tenantry publishes for the rest of the cloud: CloudEvents 1.0, structured mode, JSON, on `tenantry.provisioning`
(`provisioning_topic`), with the tenant id as key. At least once, in the order of the log for each tenant; a
repetition has the same `id` and the same text. No event holds a person's name or address.

[asyncapi.json](../asyncapi.json) describes every topic with its messages and their schemas, as AsyncAPI 3: what is
taken in (see also [the wire](wire.md)), what is published, and orders and replies of [provisioners of other
teams](../how-to/write-a-provisioner.md). Both are made from the code by `make schemas`.

## Topics

| topic | Tenantry | messages | |
|---|---|---|---|
{topics}

## The envelope

| attribute | value |
|---|---|
| `type` | one of those below |
{envelope}

## The data

Every event has `tenant_id`, `scope` {{`kind`, `key`}} and, since the version that added it, `position`: the place
of the event in the log. Besides:

| type | when | more data |
|---|---|---|
{types}

`?` is optional. `step` has a `number` and a `name`; `level` is one of `open`, `closed`, `retained`, `absent`.
`retry_at`, and the `step` of `held`, may be null.

**`position` is a freshness token**: a consumer that acts on the event, and asks for the context of its tenant, sends it
as `Tenancy-At-Least`; the answer then knows of the event. Producers get the token of an event of their own from
`GET /v1/positions?source=&id=` of a [context service](context-service.md), or from `tenantry publish --wait SECONDS`.

## What is stable

Types, attributes and fields that stand here keep their names and meanings within a major version. New types and
fields may come: pass over what you do not know. `digest` names the desired state to which a scope has come; two that
are equal mean the same, nothing else can be read from it.

A topic that was created anew gets every event again. A consumer that needs the state and not the changes reads the
[read models](read-models.md), or follows a context service.
"""


def page() -> str:
    """docs/reference/events.md."""
    whole = document()
    envelope = whole["components"]["schemas"]["tenantry.step.completed"]["properties"]
    actions = {each["channel"]["$ref"].rpartition("/")[2]: each["action"] for each in whole["operations"].values()}
    published = {name: ("sends" if action == "send" else "receives") for name, action in actions.items()}
    topics = [
        f"| `{channel['address']}` | {published[name]} | {len(channel['messages'])} | {channel['description']} |"
        for name, channel in whole["channels"].items()
    ]
    rows = [
        f"| `{name}` | {schema.get('description') or '`' + str(schema.get('const')) + '`'} |"
        for name, schema in envelope.items()
        if name not in ("type", "data")
    ]
    reported_types = [
        f"| {_types_of(name)} | {when} | {', '.join(_shown(each) for each in fields)} |"
        for name, (when, fields) in OUTGOING.items()
    ]
    return _PAGE.format(topics="\n".join(topics), envelope="\n".join(rows), types="\n".join(reported_types))


def _types_of(name: str) -> str:
    kinds = SCOPE_STEPS if "{kind}" in name else ("",)
    return ", ".join(f"`tenantry.{name.format(kind=kind)}`" for kind in kinds)


def _shown(field: str) -> str:
    return f"`{field.removesuffix('?')}`{'?' if field.endswith('?') else ''}"


def text() -> str:
    """docs/asyncapi.json."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def write(docs: Path) -> None:
    docs.joinpath("asyncapi.json").write_text(text(), encoding="utf-8")
    docs.joinpath("reference", "events.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
