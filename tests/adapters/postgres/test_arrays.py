"""Does PostgreSQL read what was put together by hand?"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.arrays import bigints, byteas, texts, timestamps

anything = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
times = st.integers(-(10**16), 10**17).map(
    lambda microseconds: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)


@pytest.fixture(scope="module")
def connection(postgres: EmbeddedPostgres) -> Any:
    with psycopg.connect(postgres.url(), autocommit=True) as opened:
        yield opened


@settings(max_examples=50)
@given(st.lists(st.tuples(anything, st.integers(-(2**63), 2**63 - 1), st.binary(), times), max_size=20))
def test_rows_arrive_as_they_were_sent(connection: Any, rows: list[tuple[str, int, bytes, datetime]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    found = connection.execute(
        "SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bytea[], %b::timestamptz[])",
        (texts(columns[0]), bigints(columns[1]), byteas(columns[2]), timestamps(columns[3])),
        binary=True,
    ).fetchall()
    assert found == rows


def test_a_time_of_another_zone_is_the_same_moment(connection: Any) -> None:
    moment = datetime.fromisoformat("2026-03-29T03:30:00+02:00")
    ((found,),) = connection.execute(
        "SELECT * FROM unnest(%b::timestamptz[])", (timestamps([moment]),), binary=True
    ).fetchall()
    assert found - moment == timedelta(0)


def test_what_does_not_fit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        texts(["\ud800"])
    with pytest.raises(struct.error):
        bigints([2**63])
