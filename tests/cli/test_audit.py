"""Does an auditor get what the commands promise, as text and as JSON, and an exit code that says it?"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from typer.testing import CliRunner, Result

from adapters.postgres.migrations import migrate
from audit.merkle import verify_consistency, verify_inclusion
from cli.main import app
from tests.audit.sealing import SIGNER, Connection, append

ID = UUID("5f0c1a52-6f0e-4e2f-9d0c-0a1b2c3d4e5f")


@pytest.fixture
def connection(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    migrate(database)
    monkeypatch.setenv("TENANTRY_DATABASE_URL", database)
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("TENANTRY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TENANTRY_SEAL_KEY", SIGNER.secret_text())
    with psycopg.connect(database, autocommit=True) as opened:
        append(opened, range(1, 301))
        opened.execute(
            "UPDATE stored_events SET state = %s WHERE notification_id = 77", (b'{"id":"%s"}' % str(ID).encode(),)
        )
        yield opened


def audit(*arguments: str, code: int = 0) -> Result:
    ran = CliRunner().invoke(app, ["audit", *arguments])
    assert ran.exit_code == code, ran.output
    assert SIGNER.secret_text()[-20:] not in ran.output
    return ran


def answer(*arguments: str, code: int = 0) -> Any:
    return json.loads(audit(*arguments, "--json", code=code).stdout)


def test_a_log_is_sealed_and_verified(connection: Connection) -> None:
    first = answer("seal")
    assert (first["events"], first["signed"], first["checkpoint"]["size"]) == (300, True, 300)
    assert "none of them new" in audit("seal").stdout
    found = answer("verify")
    assert (found["whole"], found["events"], found["signed"], found["findings"]) == (True, 300, True, [])
    assert "300 events up to position 300 are as they were sealed" in audit("verify").stdout


def test_a_tampered_event_is_named_and_the_exit_code_is_1(connection: Connection) -> None:
    audit("seal")
    connection.execute("UPDATE stored_events SET topic = 'x' WHERE notification_id = 123")
    found = answer("verify", code=1)
    assert [(each["kind"], each["first"], each["last"]) for each in found["findings"]] == [("changed", 123, 123)]
    assert "123" in audit("verify", code=1).stdout
    assert "position 123 was changed" in audit("prove", "123", code=1).stderr


def test_a_log_that_was_cut_off_is_found_by_a_checkpoint_that_was_held(connection: Connection, tmp_path: Path) -> None:
    audit("seal")
    held = tmp_path / "held"
    held.write_text(audit("checkpoint", "export").stdout)
    for statement in ("TRUNCATE seal_tiles, seal_checkpoints", "DELETE FROM stored_events WHERE notification_id > 200"):
        connection.execute(statement.encode())
    connection.execute("UPDATE high_water_mark SET position = 200")
    audit("seal")
    audit("verify")
    found = answer("verify", "--checkpoint", str(held), code=1)
    assert [(each["kind"], each["first"], each["last"]) for each in found["findings"]] == [("cut off", 201, 300)]


def test_an_event_is_proved_by_position_and_by_id(connection: Connection) -> None:
    size = answer("seal")["checkpoint"]["size"]
    for name in ("77", str(ID)):
        proof = answer("prove", name)
        path = [base64.b64decode(hash_) for hash_ in proof["path"]]
        root = base64.b64decode(proof["checkpoint"].split("\n")[2])
        assert (proof["position"], proof["index"]) == (77, 76)
        assert verify_inclusion(base64.b64decode(proof["leaf_hash"]), 76, size, path, root)
    assert "leaf 76 of the log" in audit("prove", "77").stdout


def test_that_the_log_only_grew_is_proved(connection: Connection) -> None:
    audit("seal")
    proof = answer("consistency", "100", "300")
    path = [base64.b64decode(hash_) for hash_ in proof["path"]]
    roots = [base64.b64decode(proof[name]) for name in ("old_root", "new_root")]
    assert verify_consistency(100, 300, path, roots[0], roots[1])
    assert "name two numbers" in audit("consistency", "100", "400", code=2).stderr


def test_the_public_key_is_told_and_the_secret_one_is_not(connection: Connection) -> None:
    assert audit("checkpoint", "key").stdout == f"{SIGNER.verifier}\n"
    assert answer("checkpoint", "key") == {"keys": [str(SIGNER.verifier)]}


def test_what_is_wrong_is_said_with_its_remedy(connection: Connection, tmp_path: Path) -> None:
    assert "run `tenantry audit seal`" in audit("verify", code=2).stderr
    assert "run `tenantry audit seal`" in audit("checkpoint", "export", code=2).stderr
    assert "neither an event's id nor its position" in audit("prove", "x", code=2).stderr
    assert "correct the path" in audit("verify", "--checkpoint", str(tmp_path / "none"), code=2).stderr


def test_without_a_key_everything_works_and_says_that_it_is_unsigned(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENANTRY_SEAL_KEY")
    assert "unsigned: set TENANTRY_SEAL_KEY_FILE" in audit("seal").stderr
    assert answer("verify")["signed"] is False
    assert "shows accidents" in audit("verify").stderr
    assert "unsigned" in audit("checkpoint", "export", code=2).stderr
    assert "no seal key is set" in audit("checkpoint", "key", code=2).stderr


def test_without_a_checkpoint_given_the_log_is_held_against_the_one_signed_here_last(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_SEAL_CHECKPOINT_FILE", str(tmp_path / "kept.txt"))
    audit("seal")
    connection.execute("DELETE FROM stored_events WHERE notification_id > 200")
    connection.execute("TRUNCATE seal_tiles, seal_checkpoints")
    refused = audit("seal", code=1)
    assert "does not continue the checkpoint of 300" in refused.stderr
    [found] = json.loads(audit("verify", "--json", code=1).stdout)["findings"][-1:]
    assert (found["kind"], found["first"], found["last"]) == ("cut off", 201, 300)


def test_the_status_says_that_workers_of_two_versions_are_at_work(connection: Connection) -> None:
    for name, version in (("a", "0.1.0"), ("b", "0.2.0"), ("c", None)):
        connection.execute(
            "INSERT INTO workers (name, kind, host, pid, state, version, started_at, seen_at)"
            " VALUES (%s, 'relay', 'here', 1, 'ready', %s, now(), now() + interval '1 minute')",
            (name, version),
        )
    found = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert {worker["name"]: worker["version"] for worker in found["workers"]} == {"a": "0.1.0", "b": "0.2.0", "c": None}
    [note] = [note for note in found["notes"] if "version" in note]
    assert note == "versions 0.1.0 and 0.2.0 are at work: an event that one cannot read waits until it has ended"


def test_the_status_says_how_far_the_log_is_sealed(connection: Connection) -> None:
    def sealed() -> dict[str, int]:
        found = CliRunner().invoke(app, ["status", "--json"])
        seal: dict[str, int] = json.loads(found.stdout)["seal"]
        return seal

    assert sealed() == {"position": 0, "lag": 300}
    audit("seal")
    append(connection, range(301, 311))
    assert sealed() == {"position": 300, "lag": 10}
