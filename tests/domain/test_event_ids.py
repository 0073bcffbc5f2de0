"""Does an id tell when it was made, and nothing that it does not know?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.event_ids import event_id, made_at

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def at(time: datetime, chance: bytes = bytes(10)) -> UUID:
    return event_id(int(time.timestamp() * 1000), chance)


def test_an_id_is_of_version_7_and_tells_its_millisecond() -> None:
    for chance in (bytes(10), b"\xff" * 10, bytes(range(10))):
        made = at(NOON, chance)
        assert (made.version, made.variant) == (7, "specified in RFC 4122")
        assert made_at(made) == NOON


def test_ids_stand_in_the_order_of_their_milliseconds_whatever_the_chance() -> None:
    assert at(NOON, b"\xff" * 10).bytes < at(NOON + timedelta(milliseconds=1)).bytes


def test_each_bit_of_the_chance_but_six_makes_another_id() -> None:
    drawn = {at(NOON, (1 << bit).to_bytes(10, "big")) for bit in range(80)} - {at(NOON)}
    assert len(drawn) == 74


def test_an_id_from_before_tells_no_time() -> None:
    assert made_at(UUID("6f1c2c1e-0000-4000-8000-000000000000")) is None
