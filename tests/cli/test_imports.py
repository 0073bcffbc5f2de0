"""Does a command import what it needs, and nothing that only another one needs?

The budget of CPU time of a command (0.25 s for `--help`, 0.6 s for `status`) is held by the modules that it imports:
time depends on the machine, modules do not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.commands import COMMANDS, LoadedCommands

ROOT = Path(__file__).parent.parent.parent

_LIBRARIES = {"pyarrow", "cryptography", "structlog", "prometheus_client"}
_DRIVERS = {"sqlalchemy", "alembic", "eventsourcing", "confluent_kafka", *_LIBRARIES}
FOR_HELP = {*_DRIVERS, "kafka", "psycopg", "pydantic", "pydantic_settings", "rich", "projections", "adapters"}
_EVENTS = {"domain.event_registry", "domain.tenant", "domain.scope.state", "domain.operator_events", "domain.catalog"}
FOR_STATUS = {*_DRIVERS, *_EVENTS, "projections", "audit", "workers", "history", "application"}
"""The events alone take as long as half of the rest. kafka-python imports its admin client with anything of it, so
`status` has that one: it asks the brokers."""

PROGRAM = """
import atexit, json, sys
atexit.register(lambda: json.dump(sorted(sys.modules), open(sys.argv.pop(), "w")))
from cli.main import main
sys.argv, file = ["tenantry", *sys.argv[2:]], sys.argv[1]
atexit.register(lambda: sys.argv.append(file))
main()
"""


def imported_by(tmp_path: Path, *arguments: str, said: str = "") -> set[str]:
    """The modules that the command has imported when it ends, top-level packages among them."""
    file = tmp_path / "modules.json"
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file), *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    assert said in ran.stdout, ran.stderr
    return set(json.loads(file.read_text()))


def test_help_imports_no_driver_and_no_command(tmp_path: Path) -> None:
    assert not imported_by(tmp_path, "--help", said="quarantine") & FOR_HELP


def test_status_imports_no_migrations_no_event_store_and_no_read_models(tmp_path: Path) -> None:
    assert not imported_by(tmp_path, "status", "--data-dir", "nowhere") & FOR_STATUS


def test_status_of_a_database_that_answers_imports_no_more(tmp_path: Path, migrated_database: str) -> None:
    settings = tmp_path / "tenantry.toml"
    settings.write_text(f'database_url = "{migrated_database}"\nkafka_bootstrap = "127.0.0.1:1"\n')
    assert not imported_by(tmp_path, "status", "--json", said='"intake"') & FOR_STATUS


def test_a_rebuild_imports_no_client_of_kafka_and_no_executor(tmp_path: Path) -> None:
    imported = imported_by(tmp_path, "replay", "rebuild", "--help", said="rebuild")
    assert not imported & {"kafka", "adapters.kafka", "adapters.provisioners", "adapters.resources.executors"}


def test_the_workers_of_a_rebuild_import_while_the_command_does(tmp_path: Path) -> None:
    """What takes long comes after the fork server was told to import it."""
    imported = imported_by(tmp_path, "replay", "rebuild", "--help", said="rebuild")
    assert "history.rebuild.fork_server" in imported
    assert not imported & {"sqlalchemy", "projections", "history.rebuild.replay"}


def completed(words: str, tmp_path: Path, shell: str = "bash") -> tuple[list[str], set[str]]:
    """What a shell is given for the last word, and what was imported for it."""
    file = tmp_path / "modules.json"
    number = str(len(words.split(" ")) - 1)
    variables = {"_TENANTRY_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": number}
    variables |= {"_TYPER_COMPLETE_ARGS": words}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)],
        cwd=tmp_path,
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.stdout.split(), set(json.loads(file.read_text()))


def test_a_shell_completes_commands_without_importing_any(tmp_path: Path) -> None:
    found, imported = completed("tenantry ru", tmp_path)
    assert found == ["runs"]
    assert not imported & (FOR_HELP - {"rich", "pydantic"}), "Typer itself asks whether pydantic is there"
    assert completed("tenantry ", tmp_path)[0] == list(COMMANDS)
    assert "resumes" not in completed("tenantry runs re", tmp_path)[0]
    assert {"retry", "rehearse", "release"} <= set(completed("tenantry runs re", tmp_path)[0])
    assert "--until" in completed("tenantry wait --u", tmp_path)[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_registry_is_there_and_has_one_line(name: str) -> None:
    assert LoadedCommands()[name].name == name
    assert 0 < len(COMMANDS[name].line) <= 58, "Typer would fold it"
