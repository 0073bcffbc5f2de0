"""Is the stream of the demo the same each time, and is everything in it?"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adapters.kafka.clients import Message
from adapters.kafka.cloudevents_reader import InboundMessage, UnreadableMessage
from adapters.kafka.cloudevents_reader import read as read_message
from adapters.kafka.strict_json import MAX_BYTES
from demo.entries import Entry, read, write
from demo.stories import SCENARIOS
from demo.stream import stream
from domain.commands import COMMANDS

SEEDS = (1, 2, 3)


def messages(seed: int) -> list[tuple[Entry, InboundMessage | UnreadableMessage]]:
    """The stream as the intake will read it."""
    entries = stream(seed=seed, tenants=72)
    return [(entry, read_message(_message(entry))) for entry in entries]


def _message(entry: Entry) -> Message:
    return Message(
        topic=entry.topic,
        topic_id="",
        partition=0,
        offset=0,
        key=entry.key.encode() if entry.key else None,
        value=entry.value,
        headers=tuple((name, content.encode()) for name, content in entry.headers),
        timestamp_ms=0,
    )


def events(seed: int) -> list[tuple[Entry, InboundMessage]]:
    return [(entry, event) for entry, event in messages(seed) if isinstance(event, InboundMessage)]


def test_a_seed_always_gives_the_same_stream() -> None:
    assert stream(seed=7, tenants=70) == stream(seed=7, tenants=70)


def test_another_seed_gives_another_stream() -> None:
    assert stream(seed=7, tenants=70) != stream(seed=8, tenants=70)


def test_a_stream_comes_back_from_its_file(tmp_path: Path) -> None:
    entries = stream(seed=1, tenants=60)
    write(entries, tmp_path / "input.jsonl")
    assert read(tmp_path / "input.jsonl") == entries


def test_the_file_of_a_stream_is_for_nobody_else(tmp_path: Path) -> None:
    write(stream(seed=1, tenants=1), tmp_path / "input.jsonl")
    assert (tmp_path / "input.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("seed", SEEDS)
def test_every_event_type_comes_in_both_modes(seed: int) -> None:
    seen = {(event.type, any(name == "ce_type" for name, _ in entry.headers)) for entry, event in events(seed)}
    assert {type_ for type_, _ in seen} == set(COMMANDS)
    assert Counter(binary for _, binary in seen) == {True: len(COMMANDS), False: len(COMMANDS)}


@pytest.mark.parametrize("seed", SEEDS)
def test_at_least_sixty_tenants_are_created_over_both_regions(seed: int) -> None:
    created = {event.tenant_id: event.command for _, event in events(seed) if event.type == "tenant.created"}
    assert len(created) >= 60
    homes = {(getattr(command, "residency", None), getattr(command, "region", None)) for command in created.values()}
    assert {("pinned", "us"), ("global", "us"), ("global", "eu"), ("global", None)} <= homes


@pytest.mark.parametrize("seed", SEEDS)
def test_messages_come_with_duplicates_with_and_without_revisions(seed: int) -> None:
    found = events(seed)
    ids = Counter((event.source, event.id, event.digest) for _, event in found)
    assert sum(count - 1 for count in ids.values()) >= 5
    assert {event.revision is None for _, event in found} == {True, False}


@pytest.mark.parametrize("seed", SEEDS)
def test_some_tenants_are_spoken_of_before_they_are_created(seed: int) -> None:
    seen: set[str] = set()
    early: set[str] = set()
    for _, event in events(seed):
        if event.tenant_id is not None:
            seen.add(event.tenant_id)
            if event.type == "tenant.created" and event.tenant_id in seen:
                seen.discard(event.tenant_id)
            else:
                early.add(event.tenant_id)
    assert early


@pytest.mark.parametrize("seed", SEEDS)
def test_every_way_to_be_unreadable_is_in_the_stream(seed: int) -> None:
    rules = {event.rule for _, event in messages(seed) if isinstance(event, UnreadableMessage)}
    assert rules == {"bad-attribute", "bad-data", "empty", "not-cloudevent", "not-json", "too-large", "unknown-type"}
    values = [entry.value or b"" for entry, _ in messages(seed)]
    assert any(b"NaN" in value for value in values)
    assert any(value.count(b'"id"') == 2 for value in values)
    assert any(len(value) > MAX_BYTES for value in values)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_tenants_events_have_one_key(seed: int) -> None:
    for entry, event in events(seed):
        assert entry.key == (event.tenant_id or event.customer_id)


def test_every_story_is_told_even_to_few_tenants() -> None:
    created = {_data(entry)["tenant_id"] for entry in stream(seed=1, tenants=1) if _type(entry) == "tenant.created"}
    assert len(created) == len(SCENARIOS) + 1  # the contradictions are a tenant's as well


def _type(entry: Entry) -> str | None:
    read_event = read_message(_message(entry))
    return read_event.type


def _data(entry: Entry) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(entry.value or b"{}")
    inner: dict[str, Any] = parsed.get("data", parsed)
    return inner
