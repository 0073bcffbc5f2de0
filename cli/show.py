"""Report on one tenant, as it is or as it was: desired state, actual state and read models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli.command import command
from cli.operators import By, WhyShown
from cli.output import Report, Styled, Table, table
from cli.persons import Persons, hidden, record_shown
from cli.scopes import TenantArgument
from runtime.compose import Parts, utc_now
from runtime.compose.read_models import READ_MODELS
from runtime.reports.tenant import tell, tell_at

MOMENT_HELP = "The moment to show: a position of the log, or a time with its zone (2026-06-01T12:00:00Z)."

STEP_COLOURS = {"done": "green", "absent": "dim", "pending": "yellow", "started": "cyan", "failed": "red"}


@command
def show(
    parts: Parts,
    tenant: TenantArgument,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME|POSITION", help=MOMENT_HELP)] = None,
    persons: Persons = False,
    reason: WhyShown = None,
    by: By = "",
) -> Report:
    """Show one tenant: its desired state, its actual state with the seven steps of each product, and the read models.

    With --at the state at that moment, from the log. Persons are hidden, unless --persons asks for them.
    """
    data = tell(parts, tenant) if at is None else tell_at(parts, tenant, parts.past.at(at, now=utc_now()))
    if persons:
        record_shown(parts, tenant, reason=reason, by=by)
    else:
        data = hidden(data)
    return Report(data, tables_of(data))


def tables_of(data: dict[str, Any]) -> Iterator[Table]:
    """The tables of `show`."""
    desired_state, actual = data["desired_state"], data["actual"]
    attributes = desired_state["tenant"]["attributes"]["value"]
    yield table(
        f"desired state: tenant {data['tenant_id']}{_end(desired_state['tenant'])}",
        ("product", "desired", "presence", "access", "license", "revisions"),
        [
            (
                key,
                product["desired"],
                _value(product["presence"]),
                _value(product["access"]),
                _license(product["license"]),
                "/".join(_revision(product[name]) for name in ("presence", "access", "license")),
            )
            for key, product in desired_state["products"].items()
        ],
    )
    yield from _pending(desired_state["tenant"].get("awaiting_approval", []))
    yield _steps(f"actual state: site {attributes['site_name']}", actual)
    yield from _reasons(actual)
    for projection in READ_MODELS:
        yield from _read_model(projection.name, data[projection.name])


def _end(tenant: dict[str, Any]) -> str:
    if "purged" in tenant:
        return " (destroyed, and purged)" if tenant["purged"] else " (destroyed, is being purged)"
    return " (destroyed)" if tenant["destroyed"] else ""


def _pending(changes: list[dict[str, Any]]) -> list[Table]:
    """The changes of the tenant that await approval."""
    rows = [tuple(change.values()) for change in changes]
    return [table("awaiting approval: see `tenantry runs approve`", tuple(changes[0]), rows)] if rows else []


def _steps(title: str, actual: dict[str, Any]) -> Table:
    names = ("commerce", "site", "region", "configuration", "identity", "database", "license")
    columns = ("product", "level", "state", *(f"{number} {name}" for number, name in enumerate(names, 1)))
    rows = []
    for key, product in actual["products"].items():
        steps = [Styled(step["state"], STEP_COLOURS.get(step["state"], "magenta")) for step in product["steps"]]
        level = f"{product['level']}, data_lost" if product["data_lost"] else product["level"]
        rows.append((key, level, product["state"].replace("_", " "), *steps))
    return table(title, columns, rows)


def _reasons(actual: dict[str, Any]) -> list[Table]:
    """The reason of each scope that waits, is on hold or has failed."""
    scopes = {"site": actual["site"], **{f"family {key}": each for key, each in actual["families"].items()}}
    scopes |= {f"product {key}": each for key, each in actual["products"].items()}
    rows = [
        (name, each["state"].replace("_", " "), each["reason"]) for name, each in scopes.items() if each.get("reason")
    ]
    return [table("reasons: see `tenantry runs list`", ("scope", "state", "reason"), rows)] if rows else []


def _read_model(name: str, data: Any) -> list[Table]:
    """A read model as tables: its lists, or its row."""
    if isinstance(data, dict) and data and all(isinstance(value, list) for value in data.values()):
        return [each for part, rows in data.items() for each in _read_model(f"{name}: {part}", rows)]
    rows = data if isinstance(data, list) else [data] if data else []
    if not rows:
        return []
    columns = [column for column in rows[0] if column not in ("tenant_id", "updated_at", "steps")]
    return [table(name, columns, [[_cell(row.get(column)) for column in columns] for row in rows])]


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(str(_cell(inner)) for inner in value)
    return value


def _value(register: dict[str, Any] | None) -> str | None:
    return str(register["value"]) if register else None


def _revision(register: dict[str, Any] | None) -> str:
    return "-" if register is None or register["revision"] is None else str(register["revision"])


def _license(register: dict[str, Any] | None) -> str | None:
    if register is None:
        return None
    value = register["value"]
    until = f", until {value['expires_at']}" if value["expires_at"] else ""
    return f"{value['edition']}, {value['users']} users, {value['status']}{until}"
