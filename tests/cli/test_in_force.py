"""Does `explain` say from when a suspension was provably in force, and `publish --wait` how fresh an answer must be?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from adapters.postgres.in_force import InForceStream
from application.in_force import InForceRecorder
from cli.messages import _token
from domain.errors import Unavailable
from domain.in_force import wait_of
from runtime.compose import new_id, utc_now
from runtime.compose.contexts import context_rules_of, context_store_of
from runtime.compose.projector import log_reader_of, mark_listener_of
from tests.cli.conftest import TENANT, Desk
from workers.context_projector import ContextProjector

LEASE_SECONDS = 30.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def index(desk: Desk) -> Iterator[InForceStream]:
    with closing(InForceStream(desk.parts.endpoints.database_url)) as found:
        yield found


def project(desk: Desk) -> None:
    """The contexts, up to the end of the log."""
    parts = desk.parts
    with closing(context_store_of(parts)) as store:
        projector = ContextProjector(
            log_reader_of(parts),
            store,
            configuration=parts.configuration,
            rules_of=lambda configuration: context_rules_of(parts, configuration),
            batch=1000,
            poll_seconds=0.01,
            listener=mark_listener_of(parts),
        )
        parts.log.advance_mark()
        while projector.step():
            parts.log.advance_mark()


def recorded(desk: Desk, index: InForceStream, clock: Clock) -> InForceRecorder:
    return InForceRecorder(
        desk.parts.log, index, clock=utc_now, new_id=new_id, lease_seconds=LEASE_SECONDS, monotonic=clock
    )


def test_a_suspension_is_in_force_from_the_event_that_covers_it(desk: Desk, index: InForceStream) -> None:
    desk.work()
    clock = Clock()
    recorder = recorded(desk, index, clock)
    [before] = desk.json("explain", TENANT, "--product", "jira-software")["products"]
    assert before["in_force"] is None, "what is open has nothing to prove"

    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    project(desk)
    recorder.step()
    said = desk.says("explain", TENANT, "--product", "jira-software")
    assert "It is not proved yet that nobody is let in on what came before position" in said

    clock.now += wait_of(LEASE_SECONDS)
    up_to = recorder.step()
    assert up_to is not None
    desk.parts.log.advance_mark()
    said = desk.says("explain", TENANT, "--product", "jira-software")
    assert "It is in force, provably, since" in said
    [told] = desk.json("explain", TENANT, "--product", "jira-software")["products"]
    assert told["in_force"]["since"] <= told["in_force"]["proof"]["up_to"] == up_to
    assert told["in_force"]["proof"]["position"] > up_to


def test_the_first_event_that_covers_a_position_is_found_among_many(desk: Desk, index: InForceStream) -> None:
    clock = Clock()
    recorder = recorded(desk, index, clock)
    covered = []
    for number in range(7):
        desk.comes("product.suspended" if number % 2 == 0 else "product.unsuspended", product="jira-software",
                   **({"reason": "unpaid"} if number % 2 == 0 else {}))  # fmt: skip
        desk.work()
        project(desk)
        recorder.step()
        clock.now += wait_of(LEASE_SECONDS)
        covered.append(recorder.step())
    ends = [each for each in covered if each is not None]
    assert len(ends) >= 4
    for at, up_to in enumerate(ends):
        found = index.first_covering(up_to)
        assert found is not None
        assert (found.version, found.up_to) == (at + 1, up_to)
        following = index.first_covering(up_to + 1)
        assert (following.up_to if following is not None else None) == (ends[at + 1] if at + 1 < len(ends) else None)


def test_the_token_of_published_events_covers_them_and_one_that_waits_is_named(desk: Desk) -> None:
    source = "/commerce"
    with desk.parts.log.datastore.transaction(commit=True) as cursor:
        cursor.execute(
            'INSERT INTO incoming (source, id, digest, topic, partition, "offset", outcome)'
            " VALUES (%s, 'e-1', '', 't', 0, 0, 'recorded'), (%s, 'e-2', '', 't', 0, 1, 'waiting')",
            (source, source),
        )
    token = _token(desk.parts, [{"source": source, "id": "e-1"}], 1.0)
    assert token >= 1
    with pytest.raises(Unavailable, match="1 of 1 events are not in the log after 0 s, e-2 of /commerce among them"):
        _token(desk.parts, [{"source": source, "id": "e-2"}], 0.0)
