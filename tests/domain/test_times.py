"""Does any time that a message may name, in any zone, leave every calculation where it was?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.kafka import cloudevents_reader as inbound
from adapters.kafka.cloudevents_writer import to_structured
from adapters.kafka.preserved_messages import Preserved, preserve
from adapters.postgres.arrays import timestamps
from adapters.postgres.event_mapper import EventMapper
from adapters.postgres.message_history import Arrivals
from application.description import describe, describe_scopes
from application.inbound import Readable
from demo.reading import instant
from domain.customer import Customer
from domain.scope.desired import desired_state
from domain.scope.snapshot import TenantSnapshot, scopes_of
from domain.scope.steps import Scope
from domain.times import AHEAD, FIRST, LAST, counted, in_utc, is_ahead, moved
from history.explain import obstacles
from history.timeline import timeline
from projections import INTEGRATION, PROJECTIONS
from projections.base import storable
from tests.domain.given import CATALOG, JIRA, NOW, POLICY, SERVICE, TENANT, Clock, Intake, converged
from tests.fakes.sealing import InMemorySealingKeys
from tests.projections.given import changes_of

NEVER = "9999-12-31T23:59:59.999999Z"

OFFSETS = st.integers(-1439, 1439)
HERE = NOW.replace(tzinfo=None)
MOMENTS = st.one_of(
    st.datetimes(),
    st.datetimes(max_value=(FIRST + timedelta(days=2)).replace(tzinfo=None)),
    st.datetimes(min_value=(LAST - timedelta(days=2)).replace(tzinfo=None)),
    st.datetimes(min_value=HERE - timedelta(days=3), max_value=HERE + timedelta(days=3)),
)


@st.composite
def said(draw: st.DrawFn) -> str:
    """A time as RFC 3339 writes it."""
    moment, offset = draw(MOMENTS), draw(OFFSETS)
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    return f"{moment.isoformat()}{sign}{minutes // 60:02d}:{minutes % 60:02d}"


# -- the functions ---------------------------------------------------------------------------------------------------


@given(said(), st.timedeltas())
@example(NEVER, timedelta.max)
@example("0001-01-01T00:00:00+14:00", timedelta.min)
@example("9999-12-31T23:59:59-12:00", timedelta(0))
def test_a_time_stays_within_the_calendar_whatever_is_added(text: str, by: timedelta) -> None:
    time = datetime.fromisoformat(text)
    for found in (in_utc(time), moved(time, by), counted(in_utc(time), NOW)):
        assert FIRST <= found <= LAST
        assert found.tzinfo is UTC
    assert FIRST < NOW < LAST
    if timedelta(0) <= by:
        assert moved(time, by) >= in_utc(time)
    assert instant(text) == in_utc(time), "the demo's oracle says the same"


@given(said())
def test_a_time_counts_up_to_a_day_ahead_of_the_time_of_recording(text: str) -> None:
    time = in_utc(datetime.fromisoformat(text))
    assert NOW <= counted(time, NOW) <= NOW + AHEAD
    assert counted(time, NOW) == (NOW if is_ahead(time, NOW) else max(time, NOW))
    assert is_ahead(time, NOW) == (time - NOW > AHEAD)
    assert counted(None, NOW) == NOW


# -- a tenant's life ---------------------------------------------------------------------------------------------------


def message(type_: str, number: int, time: str, **data: Any) -> Readable:
    """The message as it comes over the wire."""
    headers, value = to_structured(
        type_, {"tenant_id": TENANT, **data}, source="commerce", id=f"{number}", time=NOW, revision=number
    )
    value = value.replace(NOW.isoformat().encode(), time.encode()).replace(b"2026-06-01T00:00:00Z", time.encode())
    assert time.encode() in value
    preserved = Preserved(TENANT.encode(), value, headers)
    read = inbound.read(preserved)
    assert isinstance(read, inbound.InboundMessage), read.explanation
    return Readable(
        source=read.source,
        id=read.id,
        type=read.type,
        time=read.time,
        revision=read.revision,
        command=read.command,
        tenant_id=read.tenant_id,
        digest=read.digest,
        whole=lambda: preserve(preserved),
        topic="tenantry.lifecycle",
        partition=0,
        offset=number,
    )


def a_life(time: str, expires_at: str) -> Iterator[Readable]:
    license_ = {"edition": "standard", "users": 5, "expires_at": expires_at}
    yield message(
        "tenant.created",
        1,
        time,
        customer_id="c-1",
        site_name="acme",
        residency="global",
        administrator={"account_id": "ada", "name": "Ada", "email": "ada@example.com"},
        products=[],
    )
    yield message("product.activated", 2, time, product=JIRA, **license_)
    yield message("product.activated", 3, time, product=SERVICE, edition="standard", users=5)
    yield message("license.updated", 4, time, product=SERVICE, status="active", **license_)
    yield message("product.deactivated", 5, time, product=JIRA, reason="left")
    yield message("tenant.destroyed", 6, time, reason="left")


@settings(max_examples=150, deadline=None)
@given(said(), said())
@example(NEVER, NEVER)
@example("9999-12-31T23:59:59-23:59", "9999-12-31T00:00:00-23:59")
@example("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00+23:59")
@example("9999-12-31T00:00:00Z", "2026-06-02T00:00:00Z")
def test_a_tenant_lives_and_ends_whatever_times_its_messages_name(time: str, expires_at: str) -> None:
    """Registers, levels, deadlines, show, timeline, what is stored, read models and what goes out."""
    intake = Intake(clock=Clock(NOW))
    scopes: dict[Scope, Any] = {}
    tenant, snapshot = intake.tenant(), TenantSnapshot(intake.tenant(), Customer("c-1"), scopes)
    for each in a_life(time, expires_at):
        assert intake.takes(each) == {"recorded": 1}
        tenant = intake.tenant()
        snapshot = TenantSnapshot(tenant, intake.lifecycle.whole.customer("c-1"), scopes)
        for now in (NOW, NOW + POLICY.retention, FIRST, LAST):
            for scope in scopes_of(tenant, CATALOG):
                desired = desired_state(scope, snapshot, catalog=CATALOG, policy=POLICY, now=now)
                assert desired.due_again_at is None or desired.due_again_at > now
                timestamps([desired.due_again_at] if desired.due_again_at else [])
                if scope not in scopes and desired.level != "absent" and now == NOW:
                    scopes[scope] = converged(scope, desired)
            describe(snapshot, catalog=CATALOG, policy=POLICY, now=now)
            describe_scopes(snapshot, catalog=CATALOG, policy=POLICY, now=now)
            for product in tenant.products:
                obstacles(tenant, product, catalog=CATALOG, now=now)

    for moment in (tenant.destroyed.at if tenant.destroyed else None, tenant.product(JIRA).deactivated_at):
        assert moment is not None
        assert NOW <= moment <= NOW + AHEAD
    site = Scope("site", TENANT)
    just_over = NOW + AHEAD + POLICY.restore_window
    passed = desired_state(
        site, TenantSnapshot(tenant, snapshot.customer, {}), catalog=CATALOG, policy=POLICY, now=just_over
    ).passed
    assert passed is not None, "the destroyed tenant is purged when its window is over"

    facts = [each for each in intake.log.events if each.stream.startswith("tenant:")]
    assert timeline(facts, Arrivals())
    mapper = EventMapper(InMemorySealingKeys())
    for fact in facts:
        stored = mapper.to_stored_event(fact)
        told = mapper.to_recorded(fact.stream, fact.version, stored.topic, stored.state, position=fact.position)
        assert (told.event, told.happened) == (fact.event, fact.happened)
    for projection in (*PROJECTIONS, INTEGRATION):
        for change in changes_of(projection, facts):
            storable(getattr(change, "columns", None))
    ahead = {seen.incoming.is_ahead for seen in intake.log.incoming.values()}
    assert ahead == {is_ahead(in_utc(datetime.fromisoformat(time)), NOW)}


@pytest.mark.parametrize("time", [NEVER, "9999-12-31T23:00:00-08:00", "0001-01-01T00:30:00+01:00"])
def test_the_last_and_the_first_hours_are_read_in_any_zone(time: str) -> None:
    read = message("tenant.destroyed", 1, time, reason="left")
    assert read.time in (FIRST, LAST, datetime.fromisoformat(time))
