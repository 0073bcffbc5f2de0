"""Does the registry hold what every version of Tenantry must agree on: which field came with which schema?

event_fields.json holds the fields of every event, and of the cause, with the schema version that each came with. A
field that is added without a schema of its own would be written while older workers cannot read it.
`python -m tests.domain.test_event_registry` adds what is new to the file, and refuses what is not so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Final

import pytest

from domain.event import Cause, Event, Value, added_in, fields_of, newest_schema, schema_of
from domain.event_registry import REGISTRY, EventEntry, EventRegistry
from domain.operator_events import OrphansRemoved
from domain.personal import Personal
from domain.scope.state import StepCompleted
from domain.stored_form import as_json
from domain.tenant.events import ProductActivated, TenantCreated, TenantDestroyed

KNOWN: Final = Path(__file__).parent / "event_fields.json"

Fields = dict[str, dict[str, int]]


def fields() -> Fields:
    found = {topic: fields_of(entry.event) for topic, entry in sorted(REGISTRY.by_topic.items())}
    return {**found, "cause": fields_of(Cause)}


def wrong(known: Fields, now: Fields) -> list[str]:
    """What an older version could not read, or a newer one could not, though its schema does not say so."""
    found = []
    for topic, before in known.items():
        after = now.get(topic, {})
        newest = max(before.values(), default=1)
        found += [f"{topic}: {path} is gone" for path in before if path not in after]
        found += [
            f"{topic}: {path} is new: say added_in({newest + 1}, default=...)"
            for path, schema in after.items()
            if path not in before and schema <= newest
        ]
    return found


def test_a_new_field_says_with_which_schema_it_came() -> None:
    known = json.loads(KNOWN.read_text())
    assert wrong(known, fields()) == []
    assert known == fields(), "run `python -m tests.domain.test_event_registry`"


def test_a_field_that_is_new_or_gone_and_does_not_say_so_is_found() -> None:
    known = {"t": {"a": 1, "b": 2}}
    assert wrong(known, {"t": {"a": 1, "b": 2, "c": 3}}) == []
    assert wrong(known, {"t": {"a": 1, "b": 2, "c": 2}}) == ["t: c is new: say added_in(3, default=...)"]
    assert wrong(known, {"t": {"a": 1}}) == ["t: b is gone"]


class _Part(Value):
    size: int
    weight: int = added_in(3, default=0)


class _Noted(Event):
    TOPIC: ClassVar[str] = "tenantry.noted"
    note: str = added_in(2, default="")
    parts: dict[str, _Part] | None = None


class _OfAPerson(Event):
    TOPIC: ClassVar[str] = "tenantry.of-a-person"
    name: Personal


def test_the_schema_of_an_event_is_that_of_the_newest_field_that_it_uses() -> None:
    assert newest_schema(_Noted) == 3
    assert schema_of(_Noted(parts={"a": _Part(size=1)})) == 1
    assert schema_of(_Noted(note="x")) == 2
    assert schema_of(_Noted(note="x", parts={"a": _Part(size=1), "b": _Part(size=1, weight=2)})) == 3
    assert as_json(_Noted(parts={"a": _Part(size=1)})) == {"parts": {"a": {"size": 1}}}


def test_a_field_is_not_added_with_a_default_that_two_objects_may_equal() -> None:
    with pytest.raises(TypeError, match=r"Coloured\.colour: two objects may equal its default"):

        class Coloured(Event):
            TOPIC: ClassVar[str] = "tenantry.coloured"
            colour: str = added_in(2, default="grey")


def test_an_entry_that_says_too_little_or_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="name the projections that handle it, or say why none does"):
        EventEntry(_Noted)
    with pytest.raises(ValueError, match="or say why none does"):
        EventEntry(_Noted, projected_by=("sites",), ignored="a test")
    with pytest.raises(ValueError, match="names whose key encrypts them"):
        EventEntry(_OfAPerson, ignored="a test")
    with pytest.raises(ValueError, match="names whose key encrypts them"):
        EventEntry(_Noted, ignored="a test", subject=lambda event: "tenant:t-1")

    class Double(Event):
        TOPIC: ClassVar[str] = "tenantry.noted"

    with pytest.raises(ValueError, match="two events have one topic"):
        EventRegistry([EventEntry(_Noted, ignored="a test"), EventEntry(Double, ignored="a test")])


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (TenantCreated, ("customer_id", "site_name", "residency", "region", "revision")),
        (TenantDestroyed, ("reason", "revision")),
        (ProductActivated, ("product", "residency", "region", "edition", "users", "expires_at", "revision")),
        (StepCompleted, ("customer_id", "direction", "generation")),
        (OrphansRemoved, ("reason", "plan", "operator", "removed", "skipped", "left")),
    ],
)
def test_of_an_event_everything_is_told_but_persons_and_its_place(event: type[Event], told: tuple[str, ...]) -> None:
    assert REGISTRY[event].shown == told


if __name__ == "__main__":
    before = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    if problems := wrong(before, fields()):
        raise SystemExit("\n".join(problems))
    KNOWN.write_text(json.dumps(fields(), indent=1) + "\n")
