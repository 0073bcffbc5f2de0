"""How does an operator look at tenants and at the whole?"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from adapters import overview
from adapters.past import Moment
from adapters.steps.login_roles import role_password
from cli.output import AsJson, DataDir, age, command, out, print_json, running_parts, table
from domain.convergence import database_of
from domain.description import describe
from domain.errors import UsageError
from domain.event import Recorded
from domain.steps import Scope
from domain.tenant import TenantCreated
from domain.wanted import Estate
from history import as_of
from history.story import clock
from projections import PROJECTIONS
from runtime.bootstrap import Parts, utc_now

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="The id of the tenant.")]

MOMENT_HELP = "As it was then: a position of the log, or a time with its zone (2026-06-01T12:00:00Z)."

STEP_COLOURS = {"done": "green", "absent": "dim", "pending": "yellow", "started": "cyan", "failed": "red"}


@command
def show(
    tenant: TenantArgument,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME|POSITION", help=MOMENT_HELP)] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show one tenant: what commerce wants, what is actual with the seven steps of each product, the read models.

    With --at, as it was then, told from the log alone.
    """
    with running_parts(data_dir) as parts:
        told = tell(parts, tenant) if at is None else tell_at(parts, tenant, parts.past.at(at, now=utc_now()))
    if as_json:
        print_json(told)
    else:
        for each in tables_of(told):
            out.print(each)


def tell(parts: Parts, tenant_id: str) -> dict[str, Any]:
    """Everything there is to show of a tenant; UsageError where there is none of that id."""
    told = describe(estate_of(parts, tenant_id), catalog=parts.catalog, policy=parts.policy, now=utc_now())
    with parts.engine.connect() as connection:
        for projection in PROJECTIONS:
            told[projection.name] = projection.query(connection, tenant_id)
    return told


def tell_at(parts: Parts, tenant_id: str, moment: Moment) -> dict[str, Any]:
    """As `tell`, as of the moment; UsageError where there was no tenant of that id."""
    facts = facts_until(parts, tenant_id, moment)
    with parts.engine.connect() as connection:
        return as_of.tell(
            connection,
            tenant_id,
            facts,
            projections=PROJECTIONS,
            catalog=parts.catalog,
            policy=parts.policy,
            now=moment.time,
        )


def facts_until(parts: Parts, tenant_id: str, moment: Moment) -> list[Recorded]:
    """All that was recorded of a tenant up to the moment; UsageError where it did not exist then."""
    facts = parts.past.facts_of(tenant_id, moment.position)
    if any(isinstance(fact.event, TenantCreated) for fact in facts):
        return facts
    later = parts.past.facts_of(tenant_id, parts.past.mark())
    created = next((fact for fact in later if isinstance(fact.event, TenantCreated)), None)
    if created is None:
        raise _no_tenant(parts, tenant_id)
    raise UsageError(
        f"tenant {tenant_id} did not exist yet: it was created at {clock(created.time)} (position {created.position})"
    )


def estate_of(parts: Parts, tenant_id: str) -> Estate:
    estate = parts.saga.estates([tenant_id])[tenant_id]
    if not estate.tenant.exists:
        raise _no_tenant(parts, tenant_id)
    return estate


def _no_tenant(parts: Parts, tenant_id: str) -> UsageError:
    waiting = len(parts.log.waiting([tenant_id]).get(tenant_id, []))
    known = f"{waiting} messages wait for it to be created" if waiting else "see `tenantry tenants`"
    return UsageError(f"there is no tenant {tenant_id}: {known}")


def tables_of(told: dict[str, Any]) -> list[Table]:
    """The tables of `show`."""
    wanted, actual = told["wanted"], told["actual"]
    attributes = wanted["tenant"]["attributes"]["value"]
    made = [
        table(
            f"wanted: tenant {told['tenant_id']}{_end(wanted['tenant'])}",
            ("product", "wish", "presence", "access", "license", "revisions"),
            [
                (
                    key,
                    product["wish"],
                    _value(product["presence"]),
                    _value(product["access"]),
                    _license(product["license"]),
                    "/".join(_revision(product[name]) for name in ("presence", "access", "license")),
                )
                for key, product in wanted["products"].items()
            ],
        ),
        *_held(wanted["tenant"].get("held", [])),
        _steps(f"actual: site {attributes['site_name']}", actual),
        *_reasons(actual),
    ]
    for projection in PROJECTIONS:
        made.extend(_read_model(projection.name, told[projection.name]))
    return made


def _end(tenant: dict[str, Any]) -> str:
    if "purged" in tenant:
        return " (destroyed, and purged)" if tenant["purged"] else " (destroyed, is being purged)"
    return " (destroyed)" if tenant["destroyed"] else ""


def _held(changes: list[dict[str, Any]]) -> list[Table]:
    """What the destroy guard holds of the tenant."""
    rows = [tuple(change.values()) for change in changes]
    return [table("held by the destroy guard: see `tenantry runs approve`", tuple(changes[0]), rows)] if rows else []


def _steps(title: str, actual: dict[str, Any]) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    names = ("commerce", "site", "region", "configuration", "identity", "database", "license")
    for column in (
        "product",
        "level",
        "state",
        *(f"{number} {name}" for number, name in enumerate(names, 1)),
    ):
        made.add_column(column, overflow="fold")
    for key, product in actual["products"].items():
        steps = [f"[{STEP_COLOURS.get(step['state'], 'magenta')}]{step['state']}[/]" for step in product["steps"]]
        level = f"{product['level']}, data_lost" if product["data_lost"] else product["level"]
        made.add_row(key, level, product["state"], *steps)
    return made


def _reasons(actual: dict[str, Any]) -> list[Table]:
    """What each scope that waits, is held or was given up says of it."""
    scopes = {"site": actual["site"], **{f"family {key}": each for key, each in actual["families"].items()}}
    scopes |= {f"product {key}": each for key, each in actual["products"].items()}
    rows = [(name, each["state"], each["reason"]) for name, each in scopes.items() if each.get("reason")]
    return [table("why: see `tenantry runs list`", ("scope", "state", "reason"), rows)] if rows else []


def _read_model(name: str, told: Any) -> list[Table]:
    """A read model as tables: its lists, or its row."""
    if isinstance(told, dict) and told and all(isinstance(value, list) for value in told.values()):
        return [each for part, rows in told.items() for each in _read_model(f"{name}: {part}", rows)]
    rows = told if isinstance(told, list) else [told] if told else []
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
    return "–" if register is None or register["revision"] is None else str(register["revision"])


def _license(register: dict[str, Any] | None) -> str | None:
    if register is None:
        return None
    value = register["value"]
    until = f", until {value['expires_at']}" if value["expires_at"] else ""
    return f"{value['edition']}, {value['users']} users, {value['status']}{until}"


@command
def tenants(
    level: Annotated[
        Literal["open", "closed", "retained", "absent"] | None,
        typer.Option(help="Only tenants with a product at this level."),
    ] = None,
    state: Annotated[
        Literal["converged", "in_progress", "waiting", "held", "given_up"] | None,
        typer.Option(help="Only tenants in this state (the worst of their scopes)."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 1000,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List tenants with the levels of their products and the state of the saga."""
    with running_parts(data_dir) as parts:
        rows = overview.tenants(parts.endpoints.database_url, level=level, state=state, limit=limit)
    if as_json:
        print_json(rows)
        return
    cells = [
        (
            row["tenant_id"],
            row["site_name"],
            row["access"],
            ", ".join(f"{key} {at}" for key, at in sorted(row["products"].items())),
            row["state"],
        )
        for row in rows
    ]
    out.print(table(f"{len(rows)} tenants", ("tenant", "site", "access", "products", "state"), cells))
    if len(rows) == limit:
        out.print(f"there may be more than {limit}: raise --limit")


@command
def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show positions and lags, what the saga is at, what waits and what is quarantined."""
    with running_parts(data_dir) as parts:
        told = overview.status(parts.endpoints.database_url)
    if as_json:
        print_json(told)
        return
    messages, scopes = told["messages"], told["scopes"]
    rows = [("log", told["log"]["position"], None, "")]
    rows += [
        (f"projection {each['name']}", each["position"], each["lag"], _halted(each)) for each in told["projections"]
    ]
    rows.append(("relay", told["relay"]["position"], told["relay"]["lag"], ""))
    out.print(table("positions", ("what", "position", "lag", ""), rows))
    workers = [
        (each["name"], each["kind"], each["state"], each["pid"], each["details"].get("lag")) for each in told["workers"]
    ]
    out.print(table("workers", ("name", "kind", "state", "pid", "lag"), workers))
    out.print(table("scopes", tuple(scopes), [tuple(scopes.values())]))
    out.print(
        table(
            "messages",
            ("seen", "duplicates", "stale", "waiting", "oldest waiting", "quarantined"),
            [
                (
                    messages["seen"],
                    messages["duplicates"],
                    messages["stale"],
                    messages["waiting"],
                    age(messages["oldest_waiting"]),
                    messages["quarantined"],
                )
            ],
        )
    )
    saga = told["saga"]
    out.print(f"{saga['due']} scopes are due, the oldest for {age(saga['oldest_due_seconds'])}")
    guard = told["guard"]
    if guard["held"]:
        out.print(
            f"the destroy guard holds {guard['held']} changes of {guard['tenants']} tenants, the oldest for"
            f" {age(guard['oldest_seconds'])}: see `tenantry runs approve`",
            soft_wrap=True,
        )
    out.print(_swept(told["sweep"]), markup=False, highlight=False, soft_wrap=True)


def _swept(sweep: dict[str, Any]) -> str:
    """How far the background sweep is."""
    if sweep["stopped_at"]:
        return (
            f"the background sweep stopped itself at {clock(sweep['stopped_at'])}: {sweep['reason']}. It looks like a"
            " wrong or an empty server: see `tenantry reconcile --dry-run`; it goes on after a `tenantry reconcile`"
            " of everything"
        )
    silent = "".join(f"; {where} was not looked at: {why}" for where, why in sweep["silent"].items())
    if sweep["started_at"]:
        found = f"{sweep['handed_over']} scopes handed over to the saga"
        return f"the background sweep has looked at {sweep['tenants']} tenants: {found}{silent}"
    return f"the background sweep is due a while after {clock(sweep['finished_at'])}" + silent


def _halted(projection: dict[str, Any]) -> str:
    return f"halted at event {projection['event']}: {projection['reason']}" if projection["halted"] else ""


@command
def credentials(
    tenant: TenantArgument,
    product: Annotated[str, typer.Argument(metavar="PRODUCT", help="The key of the product.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the address, role and PASSWORD by which a product reaches its database. Derived anew, stored nowhere."""
    with running_parts(data_dir) as parts:
        estate = estate_of(parts, tenant)
        if product not in parts.catalog:
            raise UsageError(f"product {product} is not in the catalogue: it has {', '.join(parts.catalog.products)}")
        family = parts.catalog.family_of(product)
        database = database_of(estate, family)
        role = database.role_of(product) if database else None
        if database is None or role is None:
            raise UsageError(f"product {product} of tenant {tenant} has no database role: see `tenantry show {tenant}`")
        scope = Scope("family", tenant, family)
        host, port = parts.topology.shards[database.shard].reached_at()
        told = {
            "host": host,
            "port": port,
            "database": database.database,
            "schema": database.schema_name,
            "role": role.role,
            "password": role_password(parts.master_key, scope, product, role.generation),
            "may_log_in": role.login,
        }
    if as_json:
        print_json(told)
    else:
        out.print(table(f"credentials of {product}", ("what", "value"), list(told.items())))
