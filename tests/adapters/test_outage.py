"""Is an outage told once, and by whom while the database cannot be told?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from adapters.files.worker_cards import WorkerCard, worker_cards
from adapters.outage import Outage
from domain.errors import Conflict, Fault, Unavailable

REFUSED = Unavailable("the database does not answer", why="refused")
FULL = Unavailable("the database is out of disk space", why="full")


def test_a_loop_says_once_that_it_waits_why_and_that_it_goes_on() -> None:
    outage = Outage("the intake")
    with structlog.testing.capture_logs() as lines:
        outage.is_over()
        for _ in range(5):
            outage.goes_on(REFUSED)
        for _ in range(5):
            outage.goes_on(FULL)
        outage.is_over()
        outage.is_over()
        outage.goes_on(Conflict("somebody was first"))
    assert [line["log_level"] for line in lines] == ["warning", "warning", "info", "warning"]
    assert lines[0]["reason"] == "the database does not answer"
    assert lines[2]["event"].startswith("the intake goes on after ")
    assert [line.get("why", line.get("waited_for")) for line in lines] == ["refused", "full", "full", "conflict"]


def test_an_outage_that_comes_back_at_once_is_the_same_one_and_its_end_is_told_when_it_stays_away() -> None:
    now = 0.0
    outage = Outage("the relay", seconds=lambda: now)
    waited: list[bool] = []
    with structlog.testing.capture_logs() as lines:
        for _ in range(6):  # seven seconds away, three at work
            outage.goes_on(FULL)
            waited.append(outage.waits is not None)
            now += 7
            outage.is_over()
            waited.append(outage.waits is not None)
            now += 3
        for _ in range(8):
            outage.is_over()
            now += 1
        outage.goes_on(FULL)
    assert [line["event"] for line in lines] == [
        "the relay waits",
        "the relay goes on after 7.0 s",
        "the relay goes on after 57.0 s",
        "the relay waits",
    ]
    assert waited == [True, False] * 6


def test_what_a_loop_waits_for_is_told_with_the_time_at_which_it_began() -> None:
    outage = Outage("the intake")
    told = [outage.waits]
    for error in (REFUSED, FULL):
        outage.goes_on(error)
        told.append(outage.waits)
    outage.is_over()
    told.append(outage.waits)
    nothing, began, changed, over = told
    assert nothing is over is None
    assert began is not None
    assert changed == {**began, "why": "full", "text": "the database is out of disk space"}


def test_a_fault_of_ours_is_logged_with_its_traceback_once() -> None:
    outage = Outage("the relay")
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            outage.goes_on(Fault("a statement is wrong"))
    (line,) = lines
    assert line["log_level"] == "error"
    assert isinstance(line["exc_info"], Fault)


WAITS = [{"who": "the intake", "why": "full", "text": "x" * 10_000, "since": "2026-06-01T00:00:00+00:00"}]


def test_a_card_tells_what_its_worker_waits_for_as_long_as_the_worker_lives(tmp_path: Path) -> None:
    card = WorkerCard(tmp_path, name="intake-1", kind="intake")
    card.write("ready", WAITS)
    (told,) = worker_cards(tmp_path)
    assert (told["name"], told["kind"], told["pid"], told["state"]) == ("intake-1", "intake", os.getpid(), "ready")
    assert told["waits"][0]["why"] == "full"
    card.write("ready", [])
    assert worker_cards(tmp_path)[0]["waits"] == []
    card.close()
    assert worker_cards(tmp_path) == []


def test_a_card_of_a_killed_worker_is_not_believed_and_goes_with_the_next(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from adapters.files.worker_cards import WorkerCard\n"
        "card = WorkerCard(Path(sys.argv[1]), name='killed', kind='relay'); card.write('ready', [])\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    left = tmp_path / "state" / "killed.json"
    assert json.loads(left.read_text())["name"] == "killed"
    assert worker_cards(tmp_path) == []
    WorkerCard(tmp_path, name="next", kind="relay")
    assert not left.exists()


def test_a_card_is_written_into_the_room_that_it_took(tmp_path: Path) -> None:
    card = WorkerCard(tmp_path, name="intake-1", kind="intake")
    file = tmp_path / "state" / "intake-1.json"
    before = file.stat()
    card.write("ready", [{**WAITS[0], "text": "€" * 10_000}] * 9)
    assert (file.stat().st_size, file.stat().st_blocks) == (before.st_size, before.st_blocks)
    assert json.loads(file.read_text())


def test_a_worker_without_a_place_for_a_card_works_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    card = WorkerCard(Path("nowhere"), name="intake-1", kind="intake")
    card.write("ready", WAITS)
    card.close()
    assert list(tmp_path.iterdir()) == []
