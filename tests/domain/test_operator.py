"""Does the identity of an operator survive its way through the log?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from adapters.postgres.event_mapper import EventMapper
from application.operator_event import OperatorAct
from domain.event import Cause, Recorded, schema_of
from domain.operator import Operator
from domain.scope.state import ScopeResumed
from tests.fakes.sealing import InMemorySealingKeys

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CONSOLE = Operator("ada", "https://sso.example", "console", "Ada")


def recorded(by: Operator, seen: str | None = None) -> Recorded:
    act = OperatorAct.begun(by=by, clock=lambda: NOW, new_id=lambda: UUID(int=7), seen=seen)
    event = ScopeResumed(tenant_id="t-1", kind="site", reason="mended")
    return act.recorded(event, stream="site:t-1", version=3)


def through_the_log(fact: Recorded) -> tuple[Recorded, dict[str, object]]:
    mapper = EventMapper(InMemorySealingKeys())
    stored = mapper.to_stored_event(fact)
    return mapper.to_domain_event(stored), json.loads(stored.state)["cause"]


@pytest.mark.parametrize(
    ("text", "operator"),
    [
        ("ada@host", Operator("ada", "host")),
        ("Ada (ada@host)", Operator("ada", "host", name="Ada")),
        ("Ada (on call) (ada@host)", Operator("ada", "host", name="Ada (on call)")),
        ("ada@corp.example@host", Operator("ada@corp.example", "host")),
        ("the background sweep", Operator("the background sweep")),
    ],
)
def test_the_text_of_an_act_at_the_terminal_tells_the_whole_identity(text: str, operator: Operator) -> None:
    assert Operator.parse(text) == operator
    assert str(operator) == text


def test_an_act_at_the_terminal_is_stored_as_every_version_before_stored_it() -> None:
    read, cause = through_the_log(recorded(Operator.parse("Ada (ada@host)")))
    empty = dict.fromkeys(("time", "topic", "partition", "offset"))
    assert cause == {"kind": "operator", "source": "Ada (ada@host)", "id": str(UUID(int=7)), **empty}
    assert schema_of(read.cause) == 1
    assert Operator.of(read.cause) == Operator("ada", "host", name="Ada")


@pytest.mark.parametrize("by", [CONSOLE, Operator("ada", "host", "console")])
def test_an_act_of_the_console_keeps_issuer_subject_and_channel(by: Operator) -> None:
    read, _ = through_the_log(recorded(by))
    assert Operator.of(read.cause) == by
    assert "console" in read.cause.source
    assert schema_of(read.cause) == 2


def test_the_version_that_was_seen_is_kept() -> None:
    read, _ = through_the_log(recorded(Operator.parse("ada@host"), seen="7/12"))
    assert read.cause.act is not None
    assert read.cause.act.seen == "7/12"
    assert Operator.of(read.cause) == Operator("ada", "host")


def test_an_act_of_before_has_its_identity_in_its_text() -> None:
    assert Operator.of(Cause(kind="operator", source="bob@box", id="1")) == Operator("bob", "box")
