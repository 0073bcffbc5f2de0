"""Is a folded batch worth the same as its changes one by one?"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from projections.base import WRITE_ONCE, Change, Delete, Fold, Set, storable
from tests.projections.given import Model, one_by_one

TABLES = MetaData()
THINGS = Table(
    "things",
    TABLES,
    Column("a", Text, primary_key=True),
    Column("b", Text, primary_key=True),
    Column("c", Text, primary_key=True),
    Column("x", BigInteger),
    Column("y", JSONB),
)
PAIRS = Table("pairs", TABLES, Column("a", Text, primary_key=True), Column("b", Text, primary_key=True))
ENTRIES = Table("entries", TABLES, Column("n", BigInteger, primary_key=True), Column("text", Text), info=WRITE_ONCE)

_few = st.sampled_from(["", "k", "ü"])
_json = st.none() | st.integers(-5, 5) | st.lists(_few, max_size=2) | st.dictionaries(_few, _few, max_size=2)
_columns = st.fixed_dictionaries({}, optional={"x": st.none() | st.integers(-9, 9), "y": _json})

CHANGES = st.lists(
    st.builds(Set, st.just(THINGS), st.tuples(_few, _few, _few), _columns)
    | st.builds(Delete, st.just(THINGS), st.lists(_few, min_size=1, max_size=3).map(tuple))
    | st.builds(Set, st.just(PAIRS), st.tuples(_few, _few))
    | st.builds(Delete, st.just(PAIRS), st.lists(_few, min_size=1, max_size=2).map(tuple))
    | st.builds(Set, st.just(ENTRIES), st.tuples(st.integers(1, 4)), st.fixed_dictionaries({"text": _few | st.none()})),
    max_size=30,
)


def apply_to(model: Model, fold: Fold) -> Model:
    """What `apply` does, on a model: deletes first, then rows."""
    deletes: list[Change] = [
        Delete(table, prefix) for table, folded in fold.tables.items() for prefix in folded.deleted
    ]
    return one_by_one(
        [*deletes, *(Set(table, key, row) for table, folded in fold.tables.items() for key, row in folded)],
        model,
    )


def without_empty(model: Model) -> Model:
    return {table: rows for table, rows in model.items() if rows}


@given(CHANGES, CHANGES)
def test_a_folded_batch_does_what_its_changes_do_one_by_one(before: list[Change], batch: list[Change]) -> None:
    expected = one_by_one(batch, one_by_one(before))
    assert without_empty(apply_to(one_by_one(before), Fold(batch))) == without_empty(expected)


@given(CHANGES)
def test_the_fold_of_everything_holds_all_rows(changes: list[Change]) -> None:
    folded = {table: dict(fold) for table, fold in Fold(changes).tables.items()}
    assert without_empty(folded) == without_empty(one_by_one(changes))


def test_a_row_that_was_deleted_and_set_again_has_none_of_its_old_columns() -> None:
    key = ("t", "p", "c")
    fold = Fold([Set(THINGS, key, {"x": 1, "y": [2]}), Delete(THINGS, ("t", "p")), Set(THINGS, key, {"x": 3})])
    assert fold.tables[THINGS].deleted == {("t", "p")}
    assert dict(fold.tables[THINGS]) == {key: {"x": 3}}


def test_sets_of_some_columns_are_merged() -> None:
    key = ("t", "p", "c")
    fold = Fold([Set(THINGS, key, {"x": 1}), Set(THINGS, key, {"y": 2}), Set(THINGS, key, {"x": 3})])
    assert dict(fold.tables[THINGS]) == {key: {"x": 3, "y": 2}}
    assert fold.tables[THINGS].deleted == set()


def test_what_is_written_once_stays_as_it_was_first() -> None:
    fold = Fold([Set(ENTRIES, (1,), {"text": "first"}), Set(ENTRIES, (1,), {"text": "second"})])
    assert dict(fold.tables[ENTRIES]) == {(1,): {"text": "first"}}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("a\x00b", "a\ufffdb"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("müller", "müller"),
        ({"k\x00": ["v\x00", {"n": "\x00"}]}, {"k\ufffd": ["v\ufffd", {"n": "\ufffd"}]}),
        (("a", "b"), ["a", "b"]),
        (math.inf, "inf"),
        ([math.nan, 1.5], ["nan", 1.5]),
        (None, None),
        (True, True),
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 1, tzinfo=UTC)),
        (
            datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-2))),
            datetime.max.replace(tzinfo=UTC),
        ),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))), datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_what_postgresql_cannot_keep_is_replaced(value: object, stored: object) -> None:
    assert storable(value) == stored


def test_keys_that_become_equal_are_one_row() -> None:
    fold = Fold([Set(PAIRS, ("t", "a\x00")), Set(PAIRS, ("t", "a\ufffd")), Set(PAIRS, ("t", "b"))])
    assert dict(fold.tables[PAIRS]) == {("t", "a\ufffd"): {}, ("t", "b"): {}}
