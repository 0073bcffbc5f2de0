"""Does the verifier that stands in docs/how-to/audit.md do what the page says, without anything of ours?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.postgres.event_log import PostgresEventLog
from audit.checkpoints import Signer
from benchmarks.population import MASTER_KEY
from cli.main import app
from tests.audit.sealing import SIGNER
from tests.history.stories import OpenKeys, Stories, append
from tests.offline import imported, run_verifier

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "audit.md"
KEY = str(SIGNER.verifier)


def program() -> str:
    [found] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


@pytest.fixture
def files(migrated_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with verify.py, log.jsonl and held.txt; the last events of the log are not sealed."""
    monkeypatch.setenv("TENANTRY_DATABASE_URL", migrated_database)
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("TENANTRY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TENANTRY_SEAL_KEY", SIGNER.secret_text())
    monkeypatch.setenv("TENANTRY_MASTER_KEY", MASTER_KEY)
    stories = Stories(2, tenants=3)
    log = PostgresEventLog(migrated_database, OpenKeys())
    append(log, stories.take(37))
    tenantry("audit", "seal")
    (tmp_path / "held.txt").write_text(tenantry("audit", "checkpoint", "export"))
    append(log, stories.take(5))
    log.close()
    tenantry("audit", "export", str(tmp_path / "log.jsonl"))
    (tmp_path / "verify.py").write_text(program())
    return tmp_path


def tenantry(*arguments: str) -> str:
    ran = CliRunner().invoke(app, [*arguments])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def verify(files: Path, key: str = KEY) -> tuple[int, str]:
    """As somebody else would run it: apart from our folder, and from whatever the environment says."""
    return run_verifier(files, "log.jsonl", "held.txt", key)


def test_it_needs_nothing_of_ours_and_is_short() -> None:
    assert imported(program()) == {"base64", "hashlib", "json", "sys", "cryptography"}
    assert len([line for line in program().splitlines() if line.strip()]) <= 50


def test_a_log_that_was_not_changed_is_verified(files: Path) -> None:
    assert verify(files) == (0, f"37 events, up to position 37, are those that {SIGNER.name} has signed\n")


def with_other_state(lines: list[str]) -> list[str]:
    said = json.loads(lines[20])
    said["state"] = said["state"].replace('"corr":"', '"corr":"x')
    return [*lines[:20], json.dumps(said) + "\n", *lines[21:]]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (with_other_state, "at least one event is not what was signed"),
        (lambda lines: [*lines[:20], *lines[21:]], "attests 37 events, and the export has 36"),
        (lambda lines: [*lines[:20], lines[21], lines[20], *lines[22:]], "at least one event is not what was signed"),
    ],
)
def test_an_export_that_was_edited_is_not(files: Path, edit: Callable[[list[str]], list[str]], said: str) -> None:
    export = files / "log.jsonl"
    export.write_text("".join(edit(export.read_text().splitlines(keepends=True))))
    code, told = verify(files)
    assert code == 1
    assert said in told


def test_neither_a_forged_checkpoint_nor_another_key_passes(files: Path) -> None:
    other = Signer.generate(SIGNER.name).verifier
    assert "not signed by that key" in verify(files, str(other))[1]
    assert "mistyped" in verify(files, KEY.replace("+", "+0", 1))[1]
    held = files / "held.txt"
    held.write_text(held.read_text().replace("\n37\n", "\n36\n"))
    assert "not signed by that key" in verify(files)[1]
