"""Export budgets: what is spent of a grant, in memory and in PostgreSQL; across threads and kills."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import pytest

from adapters.postgres.export_budgets import PostgresExportBudgets
from application.ports.export_budgets import Amounts, ExportBudgets
from tests.fakes.export_budgets import FakeExportBudgets

LIMIT = Amounts(1_000, 50_000)


@pytest.fixture(params=["fake", "postgres"])
def budgets(request: pytest.FixtureRequest) -> Iterator[ExportBudgets]:
    if request.param == "fake":
        yield FakeExportBudgets()
        return
    with closing(PostgresExportBudgets(request.getfixturevalue("migrated_database"))) as found:
        yield found


def taken(budgets: ExportBudgets, rows: int, size: int, grant: str = "x-1") -> Amounts | None:
    chunk = budgets.take(grant, uuid4(), asked=Amounts(rows, size), limit=LIMIT)
    return chunk and chunk.amounts


def test_chunks_add_up_to_the_limit_and_no_further(budgets: ExportBudgets) -> None:
    assert taken(budgets, 600, 10) == (600, 10)
    assert taken(budgets, 600, 10) == (400, 10), "what is left"
    assert taken(budgets, 1, 1) is None
    assert budgets.spent("x-1") == (1_000, 20)
    assert taken(budgets, 1, 1, "x-2") == (1, 1), "another grant has a budget of its own"


def test_bytes_end_a_budget_as_rows_do(budgets: ExportBudgets) -> None:
    assert taken(budgets, 1, 60_000) == (1, 50_000)
    assert taken(budgets, 1, 1) is None


def test_the_rest_of_a_chunk_comes_back_once(budgets: ExportBudgets) -> None:
    chunk = budgets.take("x-1", uuid4(), asked=Amounts(100, 1_000), limit=LIMIT)
    assert chunk is not None
    assert budgets.give_back("x-1", chunk.id, Amounts(40, 300))
    assert budgets.spent("x-1") == (60, 700)
    assert not budgets.give_back("x-1", chunk.id, Amounts(40, 300))
    assert budgets.spent("x-1") == (60, 700)


def test_nobody_gives_back_more_than_was_taken(budgets: ExportBudgets) -> None:
    chunk = budgets.take("x-1", uuid4(), asked=Amounts(100, 1_000), limit=LIMIT)
    assert chunk is not None
    for rest in (Amounts(101, 0), Amounts(0, 1_001), Amounts(-1, 0), Amounts(0, -1)):
        assert not budgets.give_back("x-1", chunk.id, rest)
    assert not budgets.give_back("x-2", chunk.id, Amounts(1, 1))
    assert not budgets.give_back("x-1", uuid4(), Amounts(1, 1))
    assert budgets.spent("x-1") == (100, 1_000)


def test_many_threads_take_the_limit_together_and_not_a_row_more(migrated_database: str) -> None:
    with closing(PostgresExportBudgets(migrated_database)) as budgets, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: taken(budgets, 7, 100), range(200)))
    assert sum(each.rows for each in found if each is not None) == LIMIT.rows


def test_what_a_killed_process_had_taken_stays_spent(migrated_database: str) -> None:
    killed = multiprocessing.get_context("spawn").Process(target=take_and_die, args=(migrated_database,))
    killed.start()
    killed.join(30)
    assert killed.exitcode == -signal.SIGKILL
    with closing(PostgresExportBudgets(migrated_database)) as budgets:
        assert budgets.spent("x-1") == (300, 1_000)


def take_and_die(url: str) -> None:
    with closing(PostgresExportBudgets(url)) as budgets:
        taken(budgets, 300, 1_000)
        os.kill(os.getpid(), signal.SIGKILL)
