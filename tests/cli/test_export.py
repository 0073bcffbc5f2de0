"""Do export, import and the checks of the log say what they did, as text and as JSON, and by their exit codes?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from adapters.postgres.event_log import PostgresEventLog
from benchmarks.population import MASTER_KEY
from cli.main import app
from tests.audit.sealing import SIGNER
from tests.history.stories import OpenKeys, Stories, append


@pytest.fixture(autouse=True)
def store(migrated_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_DATABASE_URL", migrated_database)
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("TENANTRY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TENANTRY_SEAL_KEY", SIGNER.secret_text())
    monkeypatch.setenv("TENANTRY_MASTER_KEY", MASTER_KEY)
    log = PostgresEventLog(migrated_database, OpenKeys())
    append(log, Stories(2, tenants=3).licenses(30))
    log.close()


def tenantry(*arguments: str, code: int = 0) -> Result:
    ran = CliRunner().invoke(app, [*arguments])
    assert ran.exit_code == code, ran.output
    return ran


def answer(*arguments: str, code: int = 0) -> Any:
    return json.loads(tenantry(*arguments, "--json", code=code).stdout)


def test_a_log_goes_from_one_store_into_another(
    second_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, keys, held = (str(tmp_path / name) for name in ("log.jsonl", "keys.jsonl", "held.txt"))
    tenantry("audit", "seal")
    Path(held).write_text(tenantry("audit", "checkpoint", "export").stdout)
    exported = answer("audit", "export", file)
    assert (exported["events"], exported["first"], exported["last"]) == (30, 1, 30)
    assert "there already" in tenantry("audit", "export", file, code=2).stderr
    assert answer("audit", "export-keys", keys)["keys"] == 0

    monkeypatch.setenv("TENANTRY_DATABASE_URL", second_database)
    edited = tmp_path / "edited.jsonl"
    lines = Path(file).read_text().splitlines(keepends=True)
    edited.write_text("".join([*lines[:7], lines[7].replace('\\"users\\":', '\\"users\\":9'), *lines[8:]]))
    Path(f"{edited}.manifest.json").write_text(Path(f"{file}.manifest.json").read_text())
    refused = tenantry("import", str(edited), code=1).stderr
    assert "the event at position 8 of the export was changed after it was exported" in " ".join(refused.split())
    said = tenantry("import", file, "--keys", keys, "--checkpoint", held).stdout
    assert "30 events up to position 30" in said
    assert "30 of them as a checkpoint attests" in said
    assert "not empty" in tenantry("import", file, code=2).stderr
    tenantry("audit", "seal")
    assert answer("audit", "verify", "--checkpoint", held)["whole"]


def test_a_time_that_is_none_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    assert "is no time" in tenantry("audit", "export", str(tmp_path / "x"), "--from", "noon", code=2).stderr
    assert "is no time" in tenantry("audit", "export", str(tmp_path / "x"), "--from", "2026-06-01T12:00", code=2).stderr
    days = ("--from", "2026-06-02", "--to", "2026-06-01")
    assert "the earlier time first" in tenantry("audit", "export", str(tmp_path / "x"), *days, code=2).stderr
    assert "no file" in tenantry("import", str(tmp_path / "y"), code=2).stderr
    assert "folder" in tenantry("audit", "export", str(tmp_path / "no" / "z"), code=2).stderr


def test_faults_of_the_log_and_of_the_views_end_in_exit_code_1(migrated_database: str) -> None:
    found = answer("audit", "log", code=1)
    assert {fault["kind"] for fault in found["faults"]} == {"orphan", "cause"}
    assert "orphan" in tenantry("audit", "log", code=1).stdout
    assert answer("audit", "views", "--all")["differences"] == []
    assert "leave --sample" in tenantry("audit", "views", "--all", "--sample", "3", code=2).stderr
    with psycopg.connect(migrated_database) as connection:
        connection.execute("INSERT INTO licenses (tenant_id, product) VALUES ('nobody', 'compass')")
        connection.execute("INSERT INTO customer_tenants VALUES ('c', 'nobody')")
    [difference] = answer("audit", "views", "--all", code=1)["differences"]
    assert (difference["table"], difference["key"]) == ("licenses", ["nobody", "compass"])
    drawn = tenantry("audit", "views", "--sample", "3", "--seed", "8", code=1)
    assert "seed 8" in drawn.stderr
    assert "nobody, compass" in drawn.stdout
    behind = "the log goes on to position 30, and some read models stand at 0 yet"
    assert behind in " ".join(drawn.stderr.split())
    tenantry("replay", "rebuild", "--all", "--workers", "1")
    assert "goes on" not in tenantry("audit", "views", "--all").stderr
