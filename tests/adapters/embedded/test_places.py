"""In which directories do the embedded parts work, and what do they say of those in which they cannot?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from adapters.embedded.broker import EmbeddedBroker
from adapters.embedded.embedded_part import EmbeddedPartFailed, reason_in
from adapters.embedded.postgres import EmbeddedPostgres
from domain.errors import TenantryError, UsageError

ODD = 'it\'s "quoted" \\ $(touch pwned) `touch pwned` a,b; touch pwned # ü'
"""A name with everything that a shell, a configuration file or an address could take for something else."""


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tenantry-tests-") as directory:
        yield Path(directory)


def refused(directory: Path) -> str:
    """What a start there says: one line."""
    with pytest.raises(TenantryError) as caught:
        EmbeddedPostgres(directory).start()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.slow
def test_a_directory_may_have_any_name_that_a_line_can_hold(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for _ in range(2):  # made, and found again
        with EmbeddedPostgres(place / ODD / "postgres") as server:
            server.create_database("kept")
            with psycopg.connect(server.url("kept")) as connection:
                assert connection.execute("SHOW data_directory").fetchone() == (str(place / ODD / "postgres/cluster"),)
    with EmbeddedBroker(place / ODD / "broker") as broker:
        assert broker.bootstrap
    assert list(place.rglob("pwned")) == []
    assert [each.name for each in place.iterdir()] == [ODD]


@pytest.mark.parametrize("part", [EmbeddedPostgres, EmbeddedBroker])
def test_a_name_with_a_newline_is_refused(place: Path, part: type[EmbeddedPostgres] | type[EmbeddedBroker]) -> None:
    with pytest.raises(UsageError, match=r"two\\nlines has a control character in its name"):
        part(place / "two\nlines").start()
    assert list(place.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_named_with_the_reason(place: Path) -> None:
    (place / "file").touch()
    assert f"cannot use {place}/file/postgres (Not a directory)" in refused(place / "file" / "postgres")
    assert "cannot use /proc/tenantry (" in refused(Path("/proc/tenantry"))
    with pytest.raises(EmbeddedPartFailed, match="the embedded broker cannot use"):
        EmbeddedBroker(place / "file" / "broker").start()


def test_a_disk_that_is_too_small_is_told_before_anything_is_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.embedded.postgres.FIRST_SPACE_MB", 10**9)
    assert f"needs {10**9} MB on the disk of {place}" in refused(place)
    assert not (place / "cluster").exists()


def test_a_directory_that_is_none_of_ours_is_told(place: Path) -> None:
    (place / "cluster").mkdir()
    assert "finds no cluster in" in refused(place)
    (place / "cluster" / "PG_VERSION").write_text("15\n")
    assert f"is version 18, but {place}/cluster was made by 15" in refused(place)


def test_a_server_that_does_not_start_says_why_in_one_line(place: Path) -> None:
    (place / "cluster").mkdir()
    (place / "cluster" / "PG_VERSION").write_text("18\n")
    text = refused(place)
    assert "does not start in" in text
    assert text.endswith(f": see {place}/postgres.log")


def test_the_line_of_a_log_that_says_why_is_found(place: Path) -> None:
    log = place / "postgres.log"
    log.write_text(
        "2026-11-28 19:00:00.000 UTC [12] @ LOG:  starting PostgreSQL\n"
        "2026-11-28 19:00:00.001 UTC [12] @ FATAL:  could not write lock file: No space left on device\n"
        "pg_ctl: could not start server\nExamine the log output.\n"
    )
    said = "FATAL:  could not write lock file: No space left on device"
    assert reason_in(log) == said
    log.write_text("")
    assert reason_in(log) == "it says nothing"
