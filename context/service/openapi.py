"""The OpenAPI document of the context service, generated from the documents' own types."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from tenantry_client.context.document import TenantContext

_TOKEN: Final = {
    "name": "Tenancy-At-Least",
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "A freshness token: the answer is as of this log position or later.",
}
_MARKS: Final = {
    "Tenancy-Position": {"schema": {"type": "integer"}, "description": "The position that the answer is as of."},
    "Tenancy-Log": {"schema": {"type": "string"}, "description": "The id of the log."},
}


@cache
def openapi() -> dict[str, Any]:
    """The document, as JSON-able data."""
    (schema,), parts = msgspec.json.schema_components([TenantContext], ref_template="#/components/schemas/{name}")
    refusal = {
        "type": "object",
        "required": ["code", "message"],
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "position": {"type": "integer"}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tenantry context service", "version": "1"},
        "paths": {
            "/v1/tenants/{id}": _look_up("id", "A tenant's context.", "tenant-unknown", schema),
            "/v1/hosts/{host}": _look_up(
                "host", "The context of the tenant that has this host.", "host-unknown", schema
            ),
            "/v1/lease": _get("The greatest committed position, for a lease.", {"503": "not-primary, append-open"}),
            "/v1/digest": _get("Sums over all documents, to compare a copy with.", {}),
            "/v1/positions": _get(
                "The freshness token of a producer's event.",
                {"400": "query-incomplete", "404": "event-unknown"},
                [_query("source"), _query("id")],
            ),
            "/v1/changes": _get(
                "Frames of all that changes.", {"400": "query-invalid"}, [_query("after"), _query("log")]
            ),
            "/v1/snapshot": _get("Everything at one position, with a checksum.", {}),
            "/v1/openapi.json": _get("This document.", {}),
            "/livez": _get("Whether the process answers.", {}),
            "/readyz": _get("Whether look-ups are answered.", {"503": "its lease is over"}),
            "/metrics": _get("Counters, as Prometheus reads them.", {}),
        },
        "components": {"schemas": {**parts, "Refusal": refusal}},
    }


def _look_up(name: str, summary: str, unknown: str, schema: dict[str, Any]) -> dict[str, Any]:
    parameter = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    codes = {
        "304": "as named by If-None-Match",
        "400": "host-invalid, freshness-token-invalid, position-not-drawn",
        "404": unknown,
        "503": "not-fresh-enough, lease-expired, tenant-halted, database-unavailable",
    }
    found = _get(summary, codes, [parameter, _TOKEN])
    content = {"application/json": {"schema": schema}}
    found["get"]["responses"]["200"] = {"description": "The document.", "headers": _MARKS, "content": content}
    return found


def _get(summary: str, refusals: dict[str, str], parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    responses: dict[str, Any] = {"200": {"description": summary}}
    for status, codes in refusals.items():
        responses[status] = {"description": codes, **({} if status == "304" else {"content": content})}
    return {"get": {"summary": summary, "parameters": parameters or [], "responses": responses}}


def _query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": name in {"source", "id"}, "schema": {"type": "string"}}
