"""Runs: the provisioning of one site, family or product each; list, show and operators' acts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer

from adapters.postgres import overview
from application.description import STEP_NAMES, describe_actual, describe_scopes
from application.operator_commands import version_of
from cli import acting, plans, rehearse
from cli.command import command
from cli.output import Line, Report, Styled, perhaps_more, table
from cli.scopes import ProductArgument, ScopeArgument, scope_of
from domain import customer as customers
from domain.errors import UsageError, problem
from domain.event import Recorded
from domain.scope.states import SCOPE_STATES, ScopeState
from domain.scope.steps import Scope, Step
from domain.tenant import state as tenants
from domain.times import age, clock
from history.story import Line as StoryLine
from history.story import Run, cause_as_json, standing, tell
from runtime.compose import Parts, utc_now
from runtime.reports.tenant import snapshot_of

app = typer.Typer(
    help="Runs, each the provisioning of one site, family or product: list, show, retry, hold, release, ensure,"
    " recreate;"
    " and what awaits approval: approve, reject.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

WORD_COLOURS = {"failed": "red", "attempt failed": "red", "on hold": "red", "blocked": "yellow", "converged": "green"}


@app.command("list")
@command
def list_(
    parts: Parts,
    state: Annotated[
        ScopeState | None,
        typer.Option(help="Only scopes in this state."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="TENANT", help="Only scopes of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
) -> Report:
    """List scopes, those that need an operator first, with the step of each, the reason, and its time."""
    rows = [
        {**row, "scope": str(Scope(row["kind"], row["tenant_id"], row["key"]))}
        for row in overview.runs(parts.endpoints.database_url, state=state, tenant_id=tenant, limit=limit)
    ]
    rows = _as_shown(parts, rows, state=state, tenant=tenant, limit=limit)
    if tenant is not None and not rows:
        snapshot_of(parts, tenant)
    events, now = parts.log.load({row["scope"]: 0 for row in rows}), utc_now()
    data = [_run(row, events.get(row["scope"], []), now) for row in rows]
    return Report(data, _table(data, limit))


def _run(row: dict[str, Any], its: list[Recorded], now: datetime) -> dict[str, Any]:
    stands, since = standing(its), max([row["updated_at"], *(recorded.time for recorded in its[-1:])])
    return {
        "seen": None,
        "until": None,
        **row,
        "updated_at": since,
        "age_seconds": (now - since).total_seconds(),
        "reason": row["reason"] or stands.reason,
        "step": _step(stands.step),
        "attempts": stands.attempts,
        "retry_at": stands.retry_at,
    }


def _table(rows: list[dict[str, Any]], limit: int) -> Iterator[Line]:
    cells = [
        (
            row["scope"],
            row["level"],
            row["state"].replace("_", " "),
            _numbered(row["step"]),
            row["reason"],
            row["attempts"] or None,
            _next(row),
            age(row["age_seconds"]),
        )
        for row in rows
    ]
    columns = ("scope", "level", "state", "at step", "reason", "attempts", "next try", "for")
    yield table(f"{len(rows)} runs", columns, cells)
    yield from perhaps_more(rows, limit)


def _next(row: dict[str, Any]) -> str | None:
    """When a failed step is tried again, or a hold ends."""
    if row["state"] == "on_hold" and row["until"] is not None:
        return clock(datetime.fromisoformat(row["until"]))
    return clock(row["retry_at"]) if row["retry_at"] else None


def _as_shown(
    parts: Parts, rows: list[dict[str, Any]], *, state: str | None, tenant: str | None, limit: int
) -> list[dict[str, Any]]:
    """The rows of the read model, each with the state that `show` has for it.

    The read model is made of single events: it cannot know that a scope is due, or waits for another one. So for each
    tenant with a scope that has not converged, the states come from the tenant's snapshot.
    """
    now, known = utc_now(), {row["scope"]: row for row in rows}
    unsettled = overview.unsettled(parts.endpoints.database_url, tenant_id=tenant, limit=limit)
    shown: dict[str, dict[str, Any]] = {}
    for tenant_id, snapshot in parts.saga.snapshots(unsettled).items():
        origin = snapshot.tenant.origin
        since = min((pending.since for pending in snapshot.tenant.pending), default=origin.time if origin else now)
        for scope, data in describe_scopes(snapshot, catalog=parts.catalog, policy=parts.policy, now=now).items():
            row = known.get(str(scope), {"updated_at": since, "age_seconds": (now - since).total_seconds()})
            shown[str(scope)] = {
                **row,
                "scope": str(scope),
                "tenant_id": tenant_id,
                "kind": scope.kind,
                "key": scope.key,
                "level": data["level"],
                "state": data["state"],
                "reason": data.get("reason") or (row.get("reason") if data["state"] == "converged" else None),
                "until": data.get("until"),
                "seen": version_of(scope, snapshot),
            }
    both = [row for row in rows if row["scope"] not in shown]
    both += [row for row in shown.values() if state in (None, row["state"])]
    return sorted(both, key=lambda row: SCOPE_STATES.index(row["state"]))[:limit]


@app.command()
@command
def show(parts: Parts, scope: ScopeArgument, product: ProductArgument = None) -> Report:
    """Show the runs of one scope from the log: changes of the desired state, each step, and operators' acts."""
    named = scope_of(scope, product)
    now, runs = _now(parts, named), _story(parts, named)
    return Report({"scope": str(named), **now, "runs": [_data_of(run) for run in runs]}, _sentences(named, now, runs))


def _sentences(named: Scope, now: dict[str, Any], runs: list[Run]) -> Iterator[Line]:
    reason = f": {now['reason']}" if now.get("reason") else ""
    desired_state = f" (desired state: {now['desired']})" if now["desired"] != now["level"] else ""
    yield Styled(f"{named} is {now['level']}{desired_state}, {now['state'].replace('_', ' ')}{reason}", "bold")
    for run in runs:
        yield ""
        yield Styled(f"run {run.number}", "bold")
        yield from map(_sentence, run.lines)
    if not runs:
        yield "no run has started yet"


# -- the story -----------------------------------------------------------------------------------------------------


def _now(parts: Parts, scope: Scope) -> dict[str, Any]:
    """Level, desired level, state and version of the scope. UsageError where there is no such scope."""
    snapshot = snapshot_of(parts, scope.tenant_id)
    if scope not in snapshot.scopes:
        raise UsageError(problem("scope-unknown-to-runs", scope=scope, tenant_id=scope.tenant_id))
    seen = version_of(scope, snapshot)
    data = describe_actual(snapshot, catalog=parts.catalog, policy=parts.policy, now=utc_now())
    found = {"site": data["site"], **{f"family:{key}": each for key, each in data["families"].items()}}
    found |= {f"product:{key}": each for key, each in data["products"].items()}
    state = found[f"{scope.kind}:{scope.key}" if scope.key else "site"]
    return {**{name: state.get(name) for name in ("level", "desired", "state", "reason", "until")}, "seen": seen}


def _story(parts: Parts, scope: Scope) -> list[Run]:
    snapshot = parts.saga.snapshots([scope.tenant_id])[scope.tenant_id]
    causing = (tenants.stream_of(scope.tenant_id), customers.stream_of(snapshot.customer.id))
    loaded = parts.log.load(dict.fromkeys((str(scope), *causing), 0))
    return tell(
        loaded.get(str(scope), []), {recorded.id: recorded for stream in causing for recorded in loaded.get(stream, [])}
    )


def _sentence(line: StoryLine) -> tuple[str | Styled, ...]:
    at = Styled(f"  {clock(line.time)}  ", "dim")
    step = f"step {_numbered(_step(line.step))} " if line.step else ""
    word = Styled(step + line.what, WORD_COLOURS.get(line.what, ""))
    return (at, word, f": {line.text}" if line.text else "")


def _data_of(run: Run) -> dict[str, Any]:
    return {"number": run.number, "events": [{**_plain(line), "step": _step(line.step)} for line in run.lines]}


def _plain(line: StoryLine) -> dict[str, Any]:
    return {
        "time": line.time,
        "what": line.what,
        "text": line.text,
        "stream": line.stream,
        "version": line.version,
        "position": line.position,
        **line.content,
        "cause": cause_as_json(line.cause),
    }


def _step(step: Step | None) -> dict[str, Any] | None:
    return {"number": int(step), "name": STEP_NAMES[step]} if step else None


def _numbered(step: dict[str, Any] | None) -> str | None:
    return f"{step['number']} {step['name']}" if step else None


for kind in acting.ACTS:
    app.command(kind)(acting.act_on_scopes(kind))
for act in (acting.recreate, plans.approve, plans.reject, rehearse.rehearse):
    app.command()(act)
