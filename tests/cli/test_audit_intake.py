"""Does an audit find each message that the intake passed over, and no other?"""

from __future__ import annotations

import pytest

from tests.cli.taking import Taking, taking
from tests.contracts import raw_batches

__all__ = ["taking"]

pytestmark = pytest.mark.slow


def test_where_all_was_taken_in_or_quarantined_nothing_is_missing(taking: Taking) -> None:
    first, second = taking.tenants(2)
    taking.send(first, second, first)
    taking.put(raw_batches.batch((None, b"no event", ()), (None, b"no event", ())))
    taking.put(raw_batches.with_a_length_that_leads_out_of_its_record())
    taking.turn_until_at(8)
    audited = taking.json("audit", "intake")
    assert (audited["messages"], audited["missing"], audited["more"]) == (8, [], 0)
    assert "all 8 messages" in taking.says("audit", "intake")


def test_what_was_passed_over_is_named_and_can_be_read_again(taking: Taking) -> None:
    events = taking.tenants(5)
    taking.send(*events[:2])
    taking.turn_until_at(2)
    taking.send(*events[2:4])
    taking.put(raw_batches.batch((None, b"no event", ())))
    taking.says("intake-position", "move", taking.home, "--to", "5", "--reason", "a mistake")
    taking.send(events[4])
    taking.turn_until_at(6)

    audited = taking.json("audit", "intake", code=1)
    assert [(each["offset"], each["source"], each["id"]) for each in audited["missing"]] == [
        (2, "/journeys", events[2].id),
        (3, "/journeys", events[3].id),
        (4, None, None),
    ]
    assert events[3].id in taking.says("audit", "intake", code=1)

    again = taking.json("audit", "intake", "--reread", "--reason", "they were passed over", code=1)
    assert again["reread"] == {"recorded": 2, "quarantined": 1}
    assert taking.json("audit", "intake")["missing"] == []
    assert taking.rows("SELECT count(*) FROM incoming") == [(5,)]

    taking.parts.log.advance_mark()
    assert "messages reread: all tenants: they were passed over" in taking.says("acts")


def test_a_message_of_a_known_id_with_other_content_is_missing_unless_it_is_in_quarantine(taking: Taking) -> None:
    [event, other] = taking.tenants(2)
    taking.send(event)
    taking.put(raw_batches.batch((None, (event.raw().value or b"").replace(b"atlas", b"compass"), event.raw().headers)))
    taking.turn_until_at(2)
    assert taking.json("audit", "intake")["missing"] == []
    taking.rows("DELETE FROM quarantine")
    assert [each["offset"] for each in taking.json("audit", "intake", code=1)["missing"]] == [1]
    assert other.id not in taking.says("audit", "intake", code=1)


def test_what_is_quarantined_from_an_earlier_topic_of_that_name_says_nothing_about_an_offset(taking: Taking) -> None:
    taking.put(raw_batches.batch((None, b"one", ())))
    taking.turn_until_at(1)
    taking.rows("UPDATE quarantine SET digest = decode('00', 'hex')")
    assert [each["offset"] for each in taking.json("audit", "intake", code=1)["missing"]] == [0]


@pytest.mark.parametrize("arguments", [["--reread"], ["--reason", "why"]])
def test_reading_again_and_its_reason_belong_together(taking: Taking, arguments: list[str]) -> None:
    assert "--reason" in taking.says("audit", "intake", *arguments, code=2)
