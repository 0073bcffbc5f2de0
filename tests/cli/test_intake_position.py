"""Is it told where the intake stands on Kafka, and can it be set elsewhere?"""

from __future__ import annotations

import pytest
from kafka import KafkaConsumer

from adapters.kafka.preserved_messages import restore
from runtime.compose.operators import quarantine_of
from tests.cli.taking import Taking, taking
from tests.contracts import raw_batches

__all__ = ["taking"]

pytestmark = pytest.mark.slow


def test_a_message_that_no_client_decodes_is_quarantined_with_its_bytes_and_the_next_is_taken_in(
    taking: Taking,
) -> None:
    before, after = taking.tenants(2)
    taking.send(before)
    broken = raw_batches.with_content_that_is_not_of_its_codec()
    taking.put(broken)
    taking.put(raw_batches.with_a_header_name_that_is_not_utf_8())
    taking.send(after)
    taking.turn_until_at(7)

    assert taking.rows("SELECT id FROM incoming ORDER BY id") == sorted([(before.id,), (after.id,)])
    entries = taking.json("quarantine", "list")
    assert [(each["rule"], each["offset"]) for each in entries if each["rule"] == "undecodable"] == [
        ("undecodable", 1),
        ("undecodable", 4),
    ]
    assert entries[0]["reason"] == "offsets 1 to 2: its batch is not gzip, as it says (error)"
    assert bytes(broken)[61:] in restored(taking, entries[0]["number"]), "the raw bytes are kept"
    assert taking.json("status")["messages"]["undecodable"] == 2
    assert "x-" in taking.says("quarantine", "show", str(entries[2]["number"]))


def restored(taking: Taking, number: int) -> bytes:
    value = restore(quarantine_of(taking.parts).body(quarantine_of(taking.parts).entry(number))).value
    assert value is not None
    return value


def test_a_position_past_the_end_stops_its_partition_and_an_operator_moves_it(taking: Taking) -> None:
    first, second = taking.tenants(2)
    taking.send(first)
    taking.turn_until_at(1)
    taking.rows("UPDATE kafka_positions SET next_offset = 50 WHERE topic = %s", taking.topic)
    taking.intake.close()
    taking.intake = taking.another()
    taking.turn_until(lambda: bool(taking.intake.reading.get("set_aside")))
    assert taking.intake.reading["partitions"] == [f"{taking.parts.settings.commerce_topic}/0"], "that one goes on"
    taking.beats()

    told = taking.json("status")["intake"]
    [still] = [each for each in told["partitions"] if each["topic"] == taking.topic]
    assert "position 50" in still["stands_still"]
    assert f"intake-position move {taking.home} --to" in still["stands_still"]
    assert told["unread"] == []

    for offset in ("2", "50"):
        refused = taking.says("intake-position", "move", taking.home, "--to", offset, "--reason", "x", code=2)
        assert "keeps 0 to 0, and the next will be 1" in refused
    assert "it has" in taking.says("intake-position", "move", "other/0", "--to", "1", "--reason", "x", code=2)
    moved = taking.json("intake-position", "move", taking.home, "--to", "1", "--reason", "a restored backup")
    assert (moved["before"], moved["position"]) == (50, 1)
    taking.send(second)
    taking.turn_until_at(2)
    assert taking.rows("SELECT id FROM incoming ORDER BY id") == sorted([(first.id,), (second.id,)])

    taking.parts.log.advance_mark()
    act = taking.says("acts")
    assert "intake position moved: all tenants: a restored backup" in act
    assert "before 50, offset 1" in act


@pytest.mark.parametrize("taking", [2], indirect=True)
def test_a_stranger_in_our_group_is_seen_by_the_partitions_that_nobody_of_ours_reads(taking: Taking) -> None:
    settings = taking.parts.settings
    stranger = KafkaConsumer(
        settings.commerce_topic,
        taking.topic,
        bootstrap_servers=taking.bootstrap,
        group_id=settings.consumer_group,
        session_timeout_ms=2_000,
        heartbeat_interval_ms=300,
        auto_offset_reset="latest",
    )
    try:
        taking.turn_until(lambda: not stranger.poll(0) and len(taking.intake.reading.get("partitions", ())) == 2)
        for partition in (0, 1):
            taking.put(raw_batches.batch((None, b"no event", ())), partition)
        taking.turn_until(lambda: taking.position() == 1)
        taking.beats()
        told = taking.json("status")["intake"]
        assert len(told["unread"]) == 2
        assert not set(told["unread"]) & set(taking.intake.reading["partitions"])
        assert told["lag"] == 1
        said = taking.says("status")
        assert f"no live intake of this installation reads {', '.join(told['unread'])}" in said
        assert settings.consumer_group in said
    finally:
        stranger.close()


def test_the_lag_is_the_end_of_kafka_less_the_position_of_the_database_also_where_nobody_reads(taking: Taking) -> None:
    taking.send(*taking.tenants(2))
    taking.turn_until_at(2)
    taking.send(*taking.tenants(3))
    [standing] = [each for each in taking.json("intake-position", "show") if each["topic"] == taking.topic]
    assert (standing["position"], standing["start"], standing["end"], standing["lag"]) == (2, 0, 5, 3)
    assert standing["reader"] is None
    taking.turn_until_at(5)
    assert taking.json("status")["intake"]["lag"] == 0


def test_status_tells_of_a_broker_that_does_not_answer_and_of_all_else(
    taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    told = taking.json("status")
    assert "no Kafka broker answered at 127.0.0.1:1" in told["intake"]["broker"]
    assert told["messages"]["seen"] == 0
    assert "no Kafka broker answered" in taking.says("status")
