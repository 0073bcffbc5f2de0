"""How does an operator look at all tenants and at the whole?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from adapters.postgres import overview
from cli import waits
from cli.output import (
    AsJson,
    DataDir,
    Report,
    Table,
    age,
    command,
    out,
    print_json,
    render,
    running_parts,
    running_process,
    table,
)
from cli.scopes import TenantArgument
from cli.standings import standing_table
from domain.errors import Unavailable, UsageError
from domain.scope.status import ScopeState
from domain.times import clock
from runtime.compose.positions import standings_of
from runtime.compose.process import Process


@command
def tenants(
    level: Annotated[
        Literal["open", "closed", "retained", "absent"] | None,
        typer.Option(help="Only tenants with a product at this level."),
    ] = None,
    state: Annotated[
        ScopeState | None,
        typer.Option(help="Only tenants in this state (the worst of their scopes)."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 1000,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List tenants with the levels of their products and the state of the saga."""
    with running_process(data_dir) as parts:
        rows = overview.tenants(parts.endpoints.database_url, level=level, state=state, limit=limit)
    render(Report(rows, lambda: _tenants(rows, limit)), as_json=as_json)


def _tenants(rows: list[dict[str, Any]], limit: int) -> Iterator[str | Table]:
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
    yield table(f"{len(rows)} tenants", ("tenant", "site", "access", "products", "state"), cells)
    if len(rows) == limit:
        yield f"there may be more than {limit}: raise --limit"


@command
def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show positions and lags, what the saga is at, what waits and what is quarantined."""
    with running_process(data_dir) as parts:
        settings = parts.settings
        try:
            told = overview.status(parts.endpoints.database_url)
            told["intake"] = _intake(parts)
        except Unavailable as error:
            _say_away(waits.away(settings, error), as_json=as_json)
            raise
    told |= {"waits": waits.waits_of(settings, told["workers"]), "logs": waits.logs_of(settings)}
    told["notes"] = [
        *waits.server_waits(told["database"]),
        *waits.disk_waits(settings),
        *waits.version_waits(told["workers"]),
    ]
    if as_json:
        partitions = [asdict(each) for each in told["intake"]["partitions"]]
        print_json(told | {"intake": told["intake"] | {"partitions": partitions}})
        return
    messages, scopes = told["messages"], told["scopes"]
    rows = [("log", told["log"]["position"], None, "")]
    rows += [
        (f"projection {each['name']}", each["position"], each["lag"], _halted(each)) for each in told["projections"]
    ]
    rows += [(what, told[what]["position"], told[what]["lag"], "") for what in ("relay", "seal")]
    out.print(table("positions", ("what", "position", "lag", ""), rows))
    _show_intake(told["intake"])
    workers = [(each["name"], each["kind"], each["state"], each["pid"]) for each in told["workers"]]
    out.print(table("workers", ("name", "kind", "state", "pid"), workers))
    for each in told["workers"]:
        if halted := each["details"].get("halted"):
            out.print(f"{each['name']}: {halted}", markup=False, highlight=False, soft_wrap=True)
    out.print(table("scopes", tuple(scopes), [tuple(scopes.values())]))
    out.print(
        table(
            "messages",
            ("seen", "duplicates", "stale", "waiting", "oldest waiting", "quarantined", "undecodable"),
            [
                (
                    messages["seen"],
                    messages["duplicates"],
                    messages["stale"],
                    messages["waiting"],
                    age(messages["oldest_waiting"]),
                    messages["quarantined"],
                    messages["undecodable"],
                )
            ],
        )
    )
    if messages["internal_errors"]:
        out.print(
            f"{messages['internal_errors']} messages met an unexpected error in Tenantry, and later ones without a"
            " revision wait behind them: see `tenantry quarantine list`, and retry them with a version that is mended",
            soft_wrap=True,
        )
    if told["ahead"]["messages"]:
        out.print(_ahead(told["ahead"]), markup=False, highlight=False, soft_wrap=True)
    saga = told["saga"]
    out.print(f"{saga['due']} scopes are due, the oldest for {age(saga['oldest_due_seconds'])}")
    for outage in told["outages"]:
        away = (
            f"{outage['away']} has been unreachable for {age(outage['seconds'])}: {outage['scopes']} scopes wait for it"
        )
        out.print(away, markup=False, highlight=False, soft_wrap=True)
    guard = told["guard"]
    if guard["held"]:
        closings = f" ({guard['closings']} of them would close a product)" if guard["closings"] else ""
        out.print(
            f"the destroy guard holds {guard['held']} changes of {guard['tenants']} tenants{closings}, the oldest for"
            f" {age(guard['oldest_seconds'])}: see `tenantry runs approve`",
            soft_wrap=True,
        )
    for line in _adopted(told["configuration"]):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    out.print(_swept(told["sweep"]), markup=False, highlight=False, soft_wrap=True)
    waits.print_waits(told["waits"], told["notes"])
    waits.print_logs(told["logs"])


def _say_away(told: dict[str, Any], *, as_json: bool) -> None:
    """What is known without the database: its workers, and what they wait for."""
    if as_json:
        print_json(told)
        return
    rows = [(each["name"], each["kind"], each["state"], each["pid"]) for each in told["workers"]]
    if rows:
        out.print(table("workers of this machine", ("name", "kind", "state", "pid"), rows))
    waits.print_waits(told["waits"], told["notes"])
    waits.print_logs(told["logs"])


def _ahead(ahead: dict[str, Any]) -> str:
    """Whose clock, or whose idea of never, does not count."""
    return (
        f"{ahead['messages']} messages of {', '.join(ahead['sources'])} said a time more than a day ahead of ours, the"
        f" last at {clock(ahead['last_at'])}: they were applied, and their deadlines run from when they were recorded"
    )


def _intake(parts: Process) -> dict[str, Any]:
    """How far the intake is; where no broker answers, that alone."""
    group = parts.settings.consumer_group
    try:
        found = standings_of(parts)
    except Unavailable as error:
        return {"partitions": [], "lag": None, "unread": [], "group": group, "broker": str(error)}
    return {
        "partitions": found,
        "lag": sum(each.lag for each in found),
        "unread": [each.name for each in found if each.reader is None],
        "group": group,
        "broker": None,
    }


def _show_intake(told: dict[str, Any]) -> None:
    lines = [told["broker"]] if told["broker"] else []
    if told["partitions"]:
        out.print(standing_table(told["partitions"]))
        lines += [each.stands_still for each in told["partitions"] if each.stands_still]
    if told["unread"]:
        lines.append(
            f"no live intake of ours reads {', '.join(told['unread'])}: start one; if one runs, a program of others is"
            f" in our consumer group {told['group']}, so end that, or set TENANTRY_CONSUMER_GROUP"
        )
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _adopted(configuration: dict[str, Any]) -> Iterator[str]:
    """Which configuration holds, and what of it needs an operator."""
    if not configuration["version"]:
        yield "no configuration is adopted: `tenantry migrate` adopts what is at hand"
        return
    yield f"configuration {configuration['version']} is adopted, by {configuration['by']}: {configuration['reason']}"
    for shard, families in configuration["left_shards"].items():
        yield f"shard {shard} has left the topology, and {families} families live on it: see `tenantry config check`"


def _swept(sweep: dict[str, Any]) -> str:
    """How far the background sweep is."""
    if sweep["stopped_at"]:
        return (
            f"the background sweep stopped itself at {clock(sweep['stopped_at'])}: {sweep['reason']}. It looks like a"
            " wrong or an empty server: see `tenantry reconcile --dry-run`; it goes on after a `tenantry reconcile`"
            " of everything"
        )
    unreachable = "".join(f"; {where} was not looked at: {why}" for where, why in sweep["silent"].items())
    if sweep["started_at"]:
        found = f"{sweep['handed_over']} scopes handed over to the saga"
        return f"the background sweep has looked at {sweep['tenants']} tenants: {found}{unreachable}"
    return f"the background sweep is due a while after {clock(sweep['finished_at'])}" + unreachable


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
    from adapters.resources.login_role import role_password  # noqa: PLC0415 - `status` is in this file as well
    from cli.show import snapshot_of  # noqa: PLC0415
    from domain.scope.next_action import database_of  # noqa: PLC0415
    from domain.scope.steps import Scope  # noqa: PLC0415

    with running_parts(data_dir) as parts:
        snapshot = snapshot_of(parts, tenant)
        if product not in parts.catalog:
            raise UsageError(f"product {product} is not in the catalogue: it has {', '.join(parts.catalog.products)}")
        family = parts.catalog.family_of(product)
        database = database_of(snapshot, family)
        role = database.role_of(product) if database else None
        if database is None or role is None:
            raise UsageError(f"product {product} of tenant {tenant} has no database role: see `tenantry show {tenant}`")
        scope = Scope("family", tenant, family)
        shard = parts.topology.shards.get(database.shard)
        if shard is None:
            raise UsageError(f"shard {database.shard} is in no adopted configuration: see `tenantry config check`")
        host, port = shard.reached_at()
        told = {
            "host": host,
            "port": port,
            "database": database.database,
            "schema": database.schema_name,
            "role": role.role,
            "password": role_password(parts.master_key, scope, product, role.generation),
            "may_log_in": role.login,
        }
    text = lambda: [table(f"credentials of {product}", ("what", "value"), list(told.items()))]  # noqa: E731
    render(Report(told, text), as_json=as_json)
