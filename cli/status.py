"""Status of the installation: positions and lags, workers, scopes, messages, and problems for an operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from adapters.kafka.intake_standing import PartitionStanding
from adapters.postgres import overview
from cli.command import command
from cli.output import Line, Report, Table, table
from cli.standings import standing_table, stands_still
from cli.waits import waits_text
from domain.errors import Unavailable
from domain.times import age, clock
from runtime.compose.positions import standings_of
from runtime.compose.process import Process
from runtime.reports import waits


@command
def status(parts: Process) -> Iterator[Report]:
    """Show positions and lags, the states of the scopes, waiting work and quarantined messages."""
    settings = parts.settings
    try:
        data = overview.status(parts.endpoints.database_url)
        data["intake"], standings = _intake(parts)
    except Unavailable as error:
        away = waits.away(settings, error)
        workers = [_workers("workers of this machine", away["workers"])] if away["workers"] else []
        yield Report(away, [*workers, *waits_text(away)])
        raise
    data |= {"waits": waits.waits_of(settings, data["workers"]), "logs": waits.logs_of(settings)}
    data["notes"] = [
        *waits.server_waits(data["database"]),
        *waits.disk_waits(settings),
        *waits.version_waits(data["workers"]),
    ]
    yield Report(data, _status(data, standings))


def _status(data: dict[str, Any], standings: list[PartitionStanding]) -> Iterator[Line]:
    rows = [("log", data["log"]["position"], None, "")]
    rows += [
        (f"projection {each['name']}", each["position"], each["lag"], _halted(each)) for each in data["projections"]
    ]
    if contexts := data["contexts"]:
        rows.append(("contexts", contexts["position"], contexts["lag"], _halted_documents(contexts)))
    rows += [(what, data[what]["position"], data[what]["lag"], "") for what in ("relay", "seal")]
    yield table("positions", ("what", "position", "lag", ""), rows)
    yield from _read(data["intake"], standings)
    yield _workers("workers", data["workers"])
    for each in data["workers"]:
        if halted := each["details"].get("halted"):
            yield f"{each['name']}: {halted}"
    scopes, messages = data["scopes"], data["messages"]
    yield table("scopes", tuple(scopes), [tuple(scopes.values())])
    counted = {name.replace("_", " "): messages[name] for name in MESSAGES}
    counted["oldest waiting"] = age(messages["oldest_waiting"])
    yield table("messages", tuple(counted), [tuple(counted.values())])
    yield from _troubles(data)
    yield from _adopted(data["configuration"])
    yield _swept(data["sweep"])
    yield from waits_text(data)


MESSAGES: Final = ("seen", "duplicates", "stale", "waiting", "oldest_waiting", "quarantined", "undecodable")
WORKER: Final = ("name", "kind", "state", "pid")


def _workers(title: str, workers: list[dict[str, Any]]) -> Table:
    return table(title, WORKER, [[each[name] for name in WORKER] for each in workers])


def _troubles(data: dict[str, Any]) -> Iterator[str]:
    """A line for each problem that needs an operator, and for each kind of waiting work."""
    if count := data["messages"]["internal_errors"]:
        yield (
            f"{count} messages met an unexpected error in Tenantry, and later ones without a"
            " revision wait behind them: see `tenantry quarantine list`, and retry them with a corrected version"
        )
    if data["ahead"]["messages"]:
        yield _ahead(data["ahead"])
    saga, guard = data["saga"], data["guard"]
    yield f"{saga['due']} scopes are due, the oldest for {age(saga['oldest_due_seconds'])}"
    for each in data["outages"]:
        yield f"{each['away']} has been unreachable for {age(each['seconds'])}: {each['scopes']} scopes wait for it"
    if guard["awaiting_approval"]:
        closings = f" ({guard['closings']} of them would close a product)" if guard["closings"] else ""
        yield (
            f"{guard['awaiting_approval']} changes of {guard['tenants']} tenants await approval{closings}, the oldest"
            f" for {age(guard['oldest_seconds'])}: see `tenantry runs approve`"
        )


def _ahead(ahead: dict[str, Any]) -> str:
    """Producers whose times are far ahead of Tenantry's clock."""
    return (
        f"{ahead['messages']} messages of {', '.join(ahead['sources'])} had a time more than a day in the future, the"
        f" last at {clock(ahead['last_at'])}: they were applied, and their deadlines run from when they were recorded"
    )


def _intake(parts: Process) -> tuple[dict[str, Any], list[PartitionStanding]]:
    """The position of the intake; where no broker answers, only that."""
    group = parts.settings.consumer_group
    try:
        found = standings_of(parts)
    except Unavailable as error:
        return {"partitions": [], "lag": None, "unread": [], "group": group, "broker": str(error)}, []
    return {
        "partitions": [asdict(each) for each in found],
        "lag": sum(each.lag for each in found),
        "unread": [each.name for each in found if each.reader is None],
        "group": group,
        "broker": None,
    }, found


def _read(data: dict[str, Any], standings: list[PartitionStanding]) -> Iterator[Line]:
    if data["broker"]:
        yield data["broker"]
    if standings:
        yield standing_table(standings)
        yield from stands_still(standings)
    if data["unread"]:
        yield (
            f"no live intake of this installation reads {', '.join(data['unread'])}: start one; if one"
            f" runs, a foreign program is in the consumer group {data['group']}: end it, or set TENANTRY_CONSUMER_GROUP"
        )


def _adopted(configuration: dict[str, Any]) -> Iterator[str]:
    """The adopted configuration, and its problems for an operator."""
    if not configuration["version"]:
        yield "no configuration is adopted: `tenantry migrate` adopts the local files and settings"
        return
    yield f"configuration {configuration['version']} is adopted, by {configuration['by']}: {configuration['reason']}"
    for shard, families in configuration["left_shards"].items():
        yield f"shard {shard} has left the topology, and {families} families are on it: see `tenantry config check`"


def _swept(sweep: dict[str, Any]) -> str:
    """The progress of the background sweep."""
    if sweep["stopped_at"]:
        return (
            f"the background sweep stopped itself at {clock(sweep['stopped_at'])}: {sweep['reason']}. It looks like a"
            " wrong or an empty server: see `tenantry reconcile --dry-run`; it goes on after a `tenantry reconcile`"
            " of everything"
        )
    unreachable = "".join(f"; {where} was not looked at: {why}" for where, why in sweep["unreachable"].items())
    if sweep["started_at"]:
        found = f"{sweep['handed_over']} scopes handed over to the saga"
        return f"the background sweep has looked at {sweep['tenants']} tenants: {found}{unreachable}"
    return f"the background sweep is due a while after {clock(sweep['finished_at'])}" + unreachable


def _halted_documents(contexts: dict[str, Any]) -> str:
    """The tenants whose documents cannot be brought up to date, so that nobody is let in."""
    if not contexts["halted"]:
        return ""
    more = ", ..." if contexts["halted"] > len(contexts["halted_tenants"]) else ""
    return f"{contexts['halted']} documents are halted: {', '.join(contexts['halted_tenants'])}{more}"


def _halted(projection: dict[str, Any]) -> str:
    return f"halted at event {projection['event']}: {projection['reason']}" if projection["halted"] else ""
