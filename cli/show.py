"""Report on one tenant, as it is or as it was: desired state, actual state and read models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from adapters.postgres.past import Moment
from application.description import describe
from cli.command import command
from cli.operators import By, WhyShown
from cli.output import Report, Styled, Table, table
from cli.persons import Persons, hidden, record_shown
from cli.scopes import TenantArgument
from domain.errors import UsageError, problem
from domain.event import Recorded
from domain.scope.snapshot import TenantSnapshot
from domain.tenant.events import TenantCreated
from domain.times import clock
from history import as_of
from runtime.compose import Parts, utc_now
from runtime.compose.read_models import READ_MODELS

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


def tell(parts: Parts, tenant_id: str) -> dict[str, Any]:
    """The report on a tenant; UsageError where there is none of that id."""
    data = describe(snapshot_of(parts, tenant_id), catalog=parts.catalog, policy=parts.policy, now=utc_now())
    with parts.engine.connect() as connection:
        for projection in READ_MODELS:
            data[projection.name] = projection.query(connection, tenant_id)
    return data


def tell_at(parts: Parts, tenant_id: str, moment: Moment) -> dict[str, Any]:
    """The report on a tenant as of the moment; UsageError where there was no tenant of that id."""
    events, then = events_until(parts, tenant_id, moment), parts.configuration_at(moment.position)
    with parts.engine.connect() as connection:
        return as_of.tell(
            connection,
            tenant_id,
            events,
            projections=READ_MODELS,
            catalog=then.catalog,
            policy=then.policy,
            now=moment.time,
        )


def events_until(parts: Parts, tenant_id: str, moment: Moment) -> list[Recorded]:
    """All events of a tenant up to the moment; UsageError where it did not exist then."""
    events = parts.past.events_of(tenant_id, moment.position)
    if any(isinstance(recorded.event, TenantCreated) for recorded in events):
        return events
    later = parts.past.events_of(tenant_id, parts.past.mark())
    created = next((recorded for recorded in later if isinstance(recorded.event, TenantCreated)), None)
    if created is None:
        raise _no_tenant(parts, tenant_id)
    raise UsageError(
        problem("tenant-not-yet", tenant_id=tenant_id, time=clock(created.time), position=created.position)
    )


def snapshot_of(parts: Parts, tenant_id: str) -> TenantSnapshot:
    snapshot = parts.saga.snapshots([tenant_id])[tenant_id]
    if not snapshot.tenant.exists:
        raise _no_tenant(parts, tenant_id)
    return snapshot


def _no_tenant(parts: Parts, tenant_id: str) -> UsageError:
    waiting = len(parts.log.waiting([tenant_id]).get(tenant_id, []))
    known = f"{waiting} messages wait for it to be created" if waiting else "see `tenantry tenants`"
    return UsageError(problem("tenant-unknown", tenant_id=tenant_id, known=known))


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
