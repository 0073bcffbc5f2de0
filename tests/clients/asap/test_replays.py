"""Records of used tokens: once for each issuer and audience, whatever threads, processes, clocks and disks do."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tenantry_client.asap import LocalReplays, Refused, Replays, SharedReplays

NOW = 1_800_000_000.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["local", "shared"])
def replays(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Replays]:
    if request.param == "local":
        yield LocalReplays(clock=clock)
        return
    shared = SharedReplays(tmp_path / "used.sqlite", clock=clock)
    yield shared
    shared.close()


def first(replays: Replays, token_id: str = "a", *, issuer: str = "billing", audience: str = "engine") -> bool:
    return replays.first(issuer, audience, token_id, until=NOW + 70)


def test_a_token_is_the_first_of_its_id_once(replays: Replays) -> None:
    assert [first(replays), first(replays), first(replays, "b")] == [True, False, True]


def test_issuers_and_audiences_do_not_share_their_ids(replays: Replays) -> None:
    assert first(replays)
    assert first(replays, issuer="support")
    assert first(replays, audience="edge")


def test_many_threads_with_one_token_are_first_once(replays: Replays) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: first(replays), range(200)))
    assert answers.count(True) == 1


def test_what_has_expired_is_swept_away(replays: Replays, clock: Clock, tmp_path: Path) -> None:
    for number in range(50):
        first(replays, f"old-{number}")
    clock.now += 5000
    assert replays.first("billing", "engine", "new", until=clock.now + 70)
    assert _kept(replays, tmp_path) == 1


def _kept(replays: Replays, folder: Path) -> int:
    if isinstance(replays, LocalReplays):
        return len(replays._used)  # noqa: SLF001
    connection = sqlite3.connect(folder / "used.sqlite")
    try:
        return int(connection.execute("SELECT count(*) FROM used").fetchone()[0])
    finally:
        connection.close()


def test_a_clock_that_jumps_forward_for_minutes_and_back_forgets_nothing(replays: Replays, clock: Clock) -> None:
    first(replays)
    clock.now += 500
    replays.first("billing", "engine", "then", until=clock.now + 70)
    clock.now -= 500
    assert not first(replays)


def test_a_clock_that_jumps_forward_for_hours_and_back_refuses_what_it_may_have_forgotten(
    replays: Replays, clock: Clock
) -> None:
    first(replays)
    clock.now += 7200
    replays.first("billing", "engine", "then", until=clock.now + 70)
    clock.now -= 7200
    with pytest.raises(Refused) as refused:
        first(replays)
    assert (refused.value.code, refused.value.status) == ("replay-record-unavailable", 503)


def test_another_host_keeps_a_record_of_its_own_so_a_stolen_token_counts_once_on_each(tmp_path: Path) -> None:
    """What the threat model names: the record is shared by the processes of a host, not by hosts."""
    hosts = [SharedReplays(tmp_path / f"host-{number}.sqlite") for number in range(2)]
    assert [first(host) for host in hosts for _ in range(2)] == [True, False, True, False]
    for host in hosts:
        host.close()


RACER = """
import sys
from pathlib import Path
from tenantry_client.asap import SharedReplays
sys.stdin.readline()
replays = SharedReplays(Path(sys.argv[1]))
print(sum(replays.first("billing", "engine", f"token-{n}", until=9e9) for n in range(500)))
"""


def test_four_processes_that_race_on_a_new_file_are_first_once_each_token(tmp_path: Path) -> None:
    file = tmp_path / "used.sqlite"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    counts = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sum(counts) == 500, counts


def test_a_process_that_was_forked_shares_the_record_and_leaves_the_parent_s_connection_alone(tmp_path: Path) -> None:
    replays = SharedReplays(tmp_path / "used.sqlite")
    assert first(replays, "before")
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=lambda: answers.put([first(replays, "before"), first(replays, "child")]))
    child.start()
    assert answers.get() == [False, True]
    child.join(10)
    assert child.exitcode == 0
    assert not first(replays, "child")
    assert first(replays, "after")
    replays.close()


def test_a_record_survives_the_process_that_wrote_it(tmp_path: Path) -> None:
    for expected in (True, False):
        replays = SharedReplays(tmp_path / "used.sqlite")
        assert first(replays) is expected
        replays.close()


def _refusal(replays: SharedReplays) -> str:
    with pytest.raises(Refused) as refused:
        first(replays, "new")
    assert refused.value.status == 503
    return refused.value.code


def test_a_record_that_another_holds_locked_refuses_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantry_client.asap.replays.LOCK_SECONDS", 0.05)
    file = tmp_path / "used.sqlite"
    replays = SharedReplays(file)
    first(replays)
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert _refusal(replays) == "replay-record-unavailable"
    holder.execute("ROLLBACK")
    holder.close()
    assert first(replays, "new")
    replays.close()


def _filled(replays: SharedReplays) -> int:
    """The number of the first token for which there was no room."""
    for number in range(10_000):
        try:
            first(replays, f"fill-{number}")
        except Refused as refused:
            assert refused.code == "replay-record-unavailable"  # noqa: PT017
            return number
    pytest.fail("there was room for all")


def test_a_full_disk_refuses_commands_and_one_with_room_again_does_not(tmp_path: Path) -> None:
    replays = SharedReplays(tmp_path / "used.sqlite")
    first(replays)
    connection = replays._connection  # noqa: SLF001
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")  # the disk ends here: SQLite answers as on ENOSPC
    taken = _filled(replays)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert not first(replays, "fill-0")
    assert first(replays, f"fill-{taken}")
    replays.close()


def test_a_file_that_is_no_record_refuses_commands(tmp_path: Path) -> None:
    file = tmp_path / "used.sqlite"
    file.write_bytes(b"something else, and long enough to be looked at" * 100)
    assert _refusal(SharedReplays(file)) == "replay-record-unavailable"


def test_a_folder_that_is_not_there_refuses_commands(tmp_path: Path) -> None:
    assert _refusal(SharedReplays(tmp_path / "nowhere" / "used.sqlite")) == "replay-record-unavailable"


READ_ONLY = """
import os, sys
from pathlib import Path
from tenantry_client.asap import SharedReplays, Refused
if os.getuid() == 0:
    os.setuid(65534)
try:
    print(SharedReplays(Path(sys.argv[1])).first("billing", "engine", "new", until=9e9))
except Refused as refused:
    print(refused.code)
"""


def test_a_record_that_may_only_be_read_refuses_commands(tmp_path: Path) -> None:
    file = tmp_path / "used.sqlite"
    replays = SharedReplays(file)
    first(replays)
    replays.close()
    file.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    tmp_path.chmod(0o555)
    for parent in tmp_path.parents:  # root's own folders are closed to others
        if os.getuid() == 0 and parent.name.startswith("pytest"):
            parent.chmod(0o755)
    try:
        said = subprocess.run([sys.executable, "-c", READ_ONLY, str(file)], capture_output=True, text=True, check=False)
        assert said.stdout.strip() == "replay-record-unavailable", said.stderr
    finally:
        tmp_path.chmod(0o755)
