"""History commands for one tenant: timeline, explain and diff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from time import sleep
from typing import Annotated, Any

import typer

from adapters.postgres.in_force import Proof
from adapters.postgres.past import Moment, time_of
from application.description import STEP_NAMES
from cli.command import command, stream
from cli.output import Report, Styled, table
from cli.persons import hidden_differences
from cli.scopes import TenantArgument, product_of
from cli.show import MOMENT_HELP
from domain.errors import UnreadableEvent, UsageError, problem
from domain.event import Recorded
from domain.event_registry import REGISTRY
from domain.scope.steps import Scope
from domain.tenant.events import ChangesApproved
from domain.times import clock
from history import as_of
from history import explain as explaining
from history import timeline as timelines
from history.as_of import differences
from history.customer_sentence import sentence_for_customer
from history.explain import Explained
from history.story import place_of
from history.timeline import TimelineEntry
from runtime.compose import Parts, utc_now
from runtime.compose.contexts import in_force_stream_of
from runtime.reports.explanation import explained_data
from runtime.reports.tenant import events_until, tell_at
from runtime.reports.timeline import entries_of, entry_data


@command
def diff(
    parts: Parts,
    tenant: TenantArgument,
    from_: Annotated[str, typer.Option("--from", metavar="TIME|POSITION", help=MOMENT_HELP)],
    to: Annotated[str, typer.Option("--to", metavar="TIME|POSITION", help=MOMENT_HELP)],
) -> Report:
    """Compare a tenant at two moments: desired state, actual state and the read models."""
    now = utc_now()
    moments = [parts.past.at(text, now=now) for text in (from_, to)]
    before, after = (tell_at(parts, tenant, moment) for moment in moments)
    found = hidden_differences(differences(before, after))
    data = {
        "tenant_id": tenant,
        "from": _moment_data(moments[0]),
        "to": _moment_data(moments[1]),
        "changes": [{"where": where, "before": old, "after": new} for where, old, new in found],
    }
    if found:
        return Report(data, [table(f"tenant {tenant}", ("where", *map(_moment_text, moments)), found)])
    return Report(
        data, [f"nothing of tenant {tenant} differs between {_moment_text(moments[0])} and {_moment_text(moments[1])}"]
    )


# -- the timeline ---------------------------------------------------------------------------------------------------

Product = Annotated[str | None, typer.Option("--product", metavar="PRODUCT", help="Only this product (of its family).")]

FOLLOW_SECONDS = 1.0


@stream
def timeline(
    parts: Parts,
    tenant: TenantArgument,
    product: Product = None,
    kind: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(timelines.KINDS)}.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            "--from",
            metavar="TIME",
            help="Only entries at or after this time: a time with its zone, or a day.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", "--to", metavar="TIME", help="Only entries up to this time; a day is its beginning, in UTC."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Continue with new entries until Ctrl-C.")] = False,
) -> Iterator[Report]:
    """List everything about one tenant in order: messages, refusals, decisions, steps, retries and operators' acts."""
    for each in kind or ():
        if each not in timelines.KINDS:
            raise UsageError(problem("timeline-kind-unknown", each=each, KINDS=", ".join(timelines.KINDS)))
    span = {"since": time_of(since) if since else None, "until": time_of(until) if until else None}
    seen: set[str] = set()
    with suppress(KeyboardInterrupt) if follow else nullcontext():
        while True:
            entries = entries_of(parts, tenant)
            if not entries:
                raise UsageError(problem("tenant-without-messages", tenant=tenant))
            scopes = _scopes_of(parts, tenant, product)
            found = timelines.chosen(entries, scopes=scopes, product=product, kinds=kind or (), **span)
            for entry in found:
                if entry.key not in seen:
                    seen.add(entry.key)
                    yield Report(entry_data(entry), [_line(entry)])
            if not follow:
                return
            sleep(FOLLOW_SECONDS)


def _scopes_of(parts: Parts, tenant_id: str, product: str | None) -> list[Scope]:
    """The scopes of a product: its own, and that of its family."""
    if product is None:
        return []
    family = Scope("family", tenant_id, parts.catalog.family_of(product_of(parts, product)))
    return [Scope("product", tenant_id, product), family]


KIND_COLOURS = {"refused": "red", "waiting": "yellow", "operator": "magenta", "timer": "cyan", "came": "blue"}


def _line(entry: TimelineEntry) -> tuple[str | Styled, ...]:
    place = f"{entry.position:>6}" if entry.position is not None else "     -"
    subject = f"{entry.stream} " if entry.scope is not None else ""
    return (
        Styled(f"{clock(entry.time)} {place}  ", "dim"),
        Styled(f"{entry.kind:<9}", KIND_COLOURS.get(entry.kind, "")),
        f"{subject}{entry.what}",
        f": {entry.text}" if entry.text else "",
        Styled(f"  <- {entry.because}" if entry.because else "", "dim"),
    )


# -- explain --------------------------------------------------------------------------------------------------------


@command
def explain(
    parts: Parts,
    tenant: TenantArgument,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME|POSITION", help=f"{MOMENT_HELP} Without it: now.")
    ] = None,
    product: Product = None,
    for_customer: Annotated[bool, typer.Option("--for-customer", help="Print a sentence for the customer.")] = False,
) -> Report:
    """Explain why a product of a tenant (or each one) was usable or not at a moment, back to the message on Kafka."""
    _scopes_of(parts, tenant, product)
    now = utc_now()
    moment = parts.past.at(at if at is not None else now.isoformat(), now=now)
    events = events_until(parts, tenant, moment)
    later = _events_after(parts, tenant, moment)
    then = parts.configuration_at(moment.position)
    known = as_of.snapshot_of(tenant, events, catalog=then.catalog).tenant.products
    products = [product] if product else sorted(key for key in known if key in then.catalog)
    if product is not None and product not in then.catalog:
        raise UsageError(problem("product-not-in-catalogue-then", product=product, moment=_moment_text(moment)))
    found = [
        explaining.explain(tenant, each, events, catalog=then.catalog, policy=then.policy, now=moment.time, later=later)
        for each in products
    ]
    proofs = [_in_force(parts, each) for each in found]
    explained = [
        {**explained_data(each), "in_force": _proof(*proof)} for each, proof in zip(found, proofs, strict=True)
    ]
    sentences = [sentence_for_customer(each, name=then.catalog[each.product].name) for each in found]
    explained = [{**each, "for_customer": text} for each, text in zip(explained, sentences, strict=True)]
    data = {"tenant_id": tenant, "at": _moment_data(moment), "products": explained}
    if for_customer:
        return Report(data, sentences)
    story = (
        line
        for each, proof in zip(found, proofs, strict=True)
        for line in (*_story(tenant, each, moment), *_in_force_lines(*proof))
    )
    return Report(data, story if found else [f"tenant {tenant} had no products at {_moment_text(moment)}"])


def _events_after(parts: Parts, tenant_id: str, moment: Moment) -> list[Recorded]:
    """The events since the moment; none where a newer version recorded some of them: the moment needs none of them."""
    try:
        events = parts.past.events_of(tenant_id, parts.past.mark())
    except UnreadableEvent:
        return []
    return [recorded for recorded in events if recorded.position > moment.position]


def _story(tenant_id: str, explained: Explained, moment: Moment) -> Iterator[str]:
    usable = "was usable" if explained.usable else "was not usable"
    yield f"{explained.product} of tenant {tenant_id} {usable} at {_moment_text(moment)}."
    for lacking in explained.lacking:
        yield f"  {lacking}"
    for doubt in explained.doubts:
        yield f"  {doubt[0].upper()}{doubt[1:]}."
    for began, reasons in (
        (f"Its desired state was {explained.spec}", explained.desired_state),
        ("A change awaited approval and had changed nothing", explained.awaiting),
    ):
        for reason in reasons:
            yield f"  {began}: {reason.text}."
            yield from (f"    {each}" for each in _links(reason.since))
    if explained.level_last:
        yield f"  It last converged to {explained.level}:"
        yield from (f"    {each}" for each in _links(explained.level_last))
        first = explained.level_since[0]
        if first != explained.level_last[0]:
            yield f"    It was {explained.level} since {clock(first.time)} (position {first.position})."
    else:
        yield "  It had never converged to a level."
    if explained.data_lost:
        yield "  It had started again without data: its earlier data is lost."
    for stood in explained.standing:
        step = f" at step {int(stood.at.step)} {STEP_NAMES[stood.at.step]}" if stood.at.step else ""
        tried = f", attempt {stood.at.attempts}" if stood.at.attempts else ""
        again = f", tried again at {clock(stood.at.retry_at)}" if stood.at.retry_at else ""
        because = f": {stood.reason}" if stood.reason else ""
        yield f"  The saga: {stood.scope}, {stood.state.replace('_', ' ')}{step}{tried}{again}{because}"
    if not explained.standing:
        yield "  The saga had nothing to do for it."


def _links(chain: Sequence[Recorded]) -> Iterator[str]:
    """The events from the effect to its cause, and the origin of the first one."""
    came = [recorded for recorded in chain if not isinstance(recorded.event, ChangesApproved)]
    for recorded in chain:
        event = recorded.event
        if isinstance(event, ChangesApproved):
            yield f"{clock(recorded.time)}  approved by {event.operator}: {event.reason} (position {recorded.position})"
        else:
            what = REGISTRY[type(event)].title
            yield f"{clock(recorded.time)}  {what} (position {recorded.position})"
    if came and came[-1].cause.source:
        yield f"by {place_of(came[-1].cause)}"


def _in_force(parts: Parts, explained: Explained) -> tuple[int | None, Proof | None]:
    """The position since which commerce wants the product other than open, and the proof that it is in force."""
    since = [
        reason.since[0].position for reason in explained.desired_state if explained.spec != "open" and reason.since
    ]
    if not since:
        return None, None
    return min(since), in_force_stream_of(parts).first_covering(min(since))


def _in_force_lines(since: int | None, proof: Proof | None) -> Iterator[str]:
    if since is None:
        return
    if proof is None:
        yield f"  It is not proved yet that nobody is let in on what came before position {since}."
    else:
        yield (
            f"  It is in force, provably, since {clock(proof.time)}: no look-up that began later was allowed on what"
            f" came before position {since} (position {proof.position})."
        )


def _proof(since: int | None, proof: Proof | None) -> dict[str, Any] | None:
    if since is None:
        return None
    found = {"time": proof.time, "position": proof.position, "up_to": proof.up_to} if proof is not None else None
    return {"since": since, "proof": found}


# -- moments --------------------------------------------------------------------------------------------------------


def _moment_data(moment: Moment) -> dict[str, Any]:
    return {"position": moment.position, "time": moment.time}


def _moment_text(moment: Moment) -> str:
    return f"{clock(moment.time)} (position {moment.position})"
