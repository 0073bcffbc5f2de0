"""Does a part of a secret ever reach a terminal or a log?"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
import structlog
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner

from adapters.postgres.connection import connect, named, parsed, without_secrets
from cli.main import app
from domain.errors import TenantryError, Unavailable, UsageError
from runtime.instance import Card, Endpoints
from runtime.settings import Settings
from runtime.settings_error import SettingsError
from runtime.settings_layers import load_settings
from runtime.telemetry import configure_logging

MARKED = "Qx7Vk9Wp3Zt5"
"""Any four characters of it in a row give it away."""

COMMANDS: Sequence[Sequence[str]] = (
    ("migrate",),
    ("status",),
    ("status", "--json"),
    ("show", "t-1"),
    ("timeline", "t-1"),
    ("explain", "t-1"),
    ("tenants",),
    ("credentials", "t-1", "jira-software"),
    ("credentials", "rotate", "t-1", "jira-software", "--reason", "it was seen"),
    ("credentials", "fetches"),
    ("credential-service", "--keys", ".", "--allow-list", "access.toml", "--grants", "grants.toml"),
    ("acts",),
    ("reconcile", "--dry-run"),
    ("orphans",),
    ("runs", "list"),
    ("quarantine", "list"),
    ("replay", "rebuild", "--all"),
    ("audit", "seal"),
    ("audit", "verify"),
    ("audit", "log"),
    ("audit", "views"),
    ("intake",),
    ("projector",),
    ("provisioner",),
    ("relay",),
    ("up",),
)

ADDRESSES = {
    "a bad escape": f"postgresql://me:{MARKED[:6]}%zz{MARKED[6:]}@127.0.0.1:1/tenantry",
    "a bad escape at its end": f"postgresql://me:{MARKED}%@127.0.0.1:1/tenantry",
    "an escaped NUL": f"postgresql://me:{MARKED}%00@127.0.0.1:1/tenantry",
    "a slash": f"postgresql://me:{MARKED[:6]}/{MARKED[6:]}@127.0.0.1:1/tenantry",
    "a slash after digits": f"postgresql://me:12345/{MARKED}@127.0.0.1:1/tenantry",
    "an at": f"postgresql://me:{MARKED[:6]}@{MARKED[6:]}@127.0.0.1:1/tenantry",
    "a colon": f"postgresql://me:{MARKED[:6]}:{MARKED[6:]}@127.0.0.1:1/tenantry",
    "a bad host": f"postgresql://me:{MARKED}@[127.0.0.1:1/tenantry",
    "a bad port": f"postgresql://me:{MARKED}@127.0.0.1:port/tenantry",
    "a bad parameter": f"postgresql://127.0.0.1:1/tenantry?passwort={MARKED}",
    "a password as a parameter": f"postgresql://127.0.0.1:1/tenantry?user=me&password={MARKED}",
    "a bad value": f"postgresql://me:{MARKED}@127.0.0.1:1/tenantry?connect_timeout=soon",
    "another scheme": f"mysql://me:{MARKED}@127.0.0.1:1/tenantry",
    "nobody there": f"postgresql://me:{MARKED}@127.0.0.1:1/tenantry",
    "several hosts, nobody there": f"postgresql://me:{MARKED}@127.0.0.1:1,127.0.0.1:2/tenantry",
    "a name that nobody knows": f"postgresql://me:{MARKED}@nowhere.invalid/tenantry",
}


def gives_away(text: str) -> list[str]:
    return [piece for at in range(len(MARKED) - 3) if (piece := MARKED[at : at + 4]) in text]


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TENANTRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers


def told_by(command: Sequence[str]) -> str:
    """All that a command says; it fails with one line, and without a traceback."""
    result = CliRunner().invoke(app, list(command))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (1, 2), (command, result.output)
    assert "Traceback" not in result.output
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1, (command, result.output)
    return str(result.stdout + result.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["a bad escape", "an at", "nobody there"])
def test_no_command_shows_a_part_of_the_databases_password(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_DATABASE_URL", ADDRESSES[case])
    for command in COMMANDS:
        assert gives_away(told_by(command)) == [], command


@pytest.mark.parametrize("case", ADDRESSES)
def test_no_address_that_is_wrong_is_shown_with_a_part_of_its_password(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_DATABASE_URL", ADDRESSES[case])
    for command in (("migrate",), ("status",), ("projector",), ("up",)):
        assert gives_away(told_by(command)) == [], command


@pytest.mark.parametrize("case", ADDRESSES)
def test_no_message_shows_a_part_of_a_shards_password(
    case: str, migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_DATABASE_URL", migrated_database)
    monkeypatch.setenv("TENANTRY_MASTER_KEY", "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")
    shard = f'{{"name": "eu-1", "region": "eu", "url": "{ADDRESSES[case]}"}}'
    monkeypatch.setenv("TENANTRY_SHARDS", f"[{shard}]")
    for command in (
        ("migrate",),
        ("reconcile", "--dry-run"),
        ("orphans",),
        ("credentials", "t-1", "x"),
        ("up",),
    ):
        result = CliRunner().invoke(app, list(command))
        assert result.exception is None or isinstance(result.exception, SystemExit), (command, result.exception)
        assert gives_away(result.output) == [], command


@pytest.mark.parametrize(
    "name", ["MASTER_KEY", "SEAL_KEY", "WEBHOOK_SECRETS", "SHARDS", "KAFKA_BOOTSTRAP", "LOG_LEVEL"]
)
def test_a_setting_that_cannot_be_read_is_not_repeated(
    name: str, migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_DATABASE_URL", migrated_database)
    monkeypatch.setenv(f"TENANTRY_{name}", MARKED)
    for command in (("migrate",), ("status",), ("audit", "seal"), ("show", "t-1"), ("up",)):
        result = CliRunner().invoke(app, list(command))
        assert result.exception is None or isinstance(result.exception, SystemExit), (command, result.exception)
        assert gives_away(result.output) == [], command


def test_a_settings_file_that_is_cut_short_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "tenantry.toml").write_text(f'database_url = "postgresql://me:{MARKED}@127.0.0.1:1/tenantry')
    assert gives_away(told_by(("status",))) == []


def test_nothing_that_holds_an_address_shows_its_password_when_it_is_printed() -> None:
    url = ADDRESSES["nobody there"]
    settings = load_settings(database_url=url)
    endpoints, card = Endpoints(url, "127.0.0.1:1"), Card(url, "127.0.0.1:1", pid=1)
    assert gives_away(f"{settings!r}{settings}{endpoints!r}{card!r}{settings.model_dump()}") == []
    assert gives_away(without_secrets(url) + named(url)) == []
    for case, address in ADDRESSES.items():
        try:
            text = without_secrets(address) + named(address)
        except UsageError as error:
            text = str(error)
        assert gives_away(text) == [], case


def test_no_log_line_of_an_outage_shows_a_part_of_it_with_traceback_and_causes() -> None:
    stream = io.StringIO()
    configure_logging(log_format="json", stream=stream)
    log = structlog.get_logger("test")
    for address in ADDRESSES.values():
        try:
            connect(address, seconds=2)
        except TenantryError:
            log.exception("outage")
        try:
            Settings(database_url=address)  # type: ignore[arg-type]
            load_settings(database_url=address)
        except (ValueError, SettingsError):
            log.exception("settings")
    assert "Traceback" in stream.getvalue()
    assert gives_away(stream.getvalue()) == []


def test_a_wrong_password_is_not_shown(database: str) -> None:
    name = str(conninfo_to_dict(database)["dbname"])
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'another'").format(sql.Identifier(name)))
        place = parsed(database)
        url = f"postgresql://{name}:{MARKED}@127.0.0.1:{place['port']}/{name}"
        with pytest.raises(Unavailable) as caught:
            connect(url)
        owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    assert caught.value.why == "login"
    assert gives_away(f"{caught.value}{caught.value.__cause__}") == []
