"""Are commands as promised: help for each, one clear line for what is wrong, 2 for usage and 1 for failure?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from cli.main import app
from tests.fakes.kafka import InMemoryBroker, MemoryProducer

ROOT = Path(__file__).parent.parent.parent
NOWHERE = {
    "TENANTRY_DATABASE_URL": "postgresql://somebody:verysecret@127.0.0.1:1/tenantry",
    "TENANTRY_KAFKA_BOOTSTRAP": "127.0.0.1:1",
}


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group, as the words that lead to it."""
    yield path
    for name, each in getattr(command, "commands", {}).items():
        yield from _commands(each, (*path, name))


COMMANDS = list(_commands(typer.main.get_command(app)))
WORKERS = {("intake",), ("projector",), ("provisioner",), ("relay",)}
SERVERS = {("context-sidecar",), ("edge-authorizer",)}
OF_A_RUNNING_ONE = [
    ["migrate"],
    ["show", "some-tenant"],
    ["tenants"],
    ["status"],
    ["show", "some-tenant", "--at", "1"],
    ["diff", "some-tenant", "--from", "1", "--to", "2"],
    ["timeline", "some-tenant"],
    ["explain", "some-tenant", "--at", "1"],
    ["acts"],
    ["replay", "as-of", "1", "--into", "then"],
    ["replay", "compare", "public", "then"],
    ["credentials", "some-tenant", "jira-software"],
    ["runs", "list"],
    ["runs", "show", "site:some-tenant"],
    ["runs", "retry", "site:some-tenant", "--reason", "mended"],
    ["runs", "hold", "site:some-tenant", "--reason", "look"],
    ["runs", "release", "site:some-tenant", "--reason", "looked"],
    ["runs", "recreate", "some-tenant", "--family", "jira", "--reason", "no backup"],
    ["reconcile"],
    ["orphans"],
    ["orphans", "remove", "feed", "--reason", "litter"],
    ["restore", "some-tenant", "--reason", "called the wrong one"],
    ["audit", "seal"],
    ["audit", "verify"],
    ["audit", "prove", "1"],
    ["audit", "consistency", "1", "2"],
    ["audit", "checkpoint", "export"],
    ["quarantine", "list"],
    ["quarantine", "show", "1"],
    ["quarantine", "retry", "1"],
    ["quarantine", "retry", "--rule", "not-json"],
    ["quarantine", "discard", "1", "--reason", "noise"],
    ["quarantine", "discard", "--source", "/commerce", "--reason", "noise"],
    ["waiting", "list"],
    ["runs", "ensure", "site:some-tenant", "--reason", "changed by hand"],
    *[list(worker) for worker in sorted(WORKERS)],
]


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("TENANTRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; whatever would have been a traceback is raised."""
    result = CliRunner().invoke(app, list(arguments), env=dict(env or {}))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: str, code: int, env: Mapping[str, str] | None = None) -> str:
    """The one line in which a command says what is wrong."""
    exit_code, stdout, stderr = run(*arguments, env=env)
    assert stdout == ""
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: ")
    assert exit_code == code, stderr
    assert "verysecret" not in stderr
    return lines[0]


@pytest.mark.parametrize("words", COMMANDS, ids=[" ".join(words) or "tenantry" for words in COMMANDS])
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    exit_code, stdout, stderr = run(*words, "--help")
    assert (exit_code, stderr) == (0, "")
    assert stdout.lstrip().startswith("Usage: ")
    assert len(stdout.strip().splitlines()) > 3
    is_group = words in [
        (),
        ("access",),
        ("audit",),
        ("audit", "checkpoint"),
        ("config",),
        ("credentials",),
        ("edge",),
        ("egress",),
        ("intake-position",),
        ("quarantine",),
        ("replay",),
        ("runs",),
        ("service-keys",),
        ("waiting",),
    ]
    assert is_group or words in WORKERS | SERVERS or "--json" in stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["show"],
        ["show", "one", "two"],
        ["status", "--no-such-option"],
        ["diff", "one", "--from", "1"],
        ["explain"],
        ["replay", "as-of", "1"],
        ["tenants", "--level", "ajar"],
        ["tenants", "--limit", "0"],
        ["quarantine", "show", "zero"],
        ["quarantine", "discard", "1"],
        ["runs", "retry", "site:t-1"],
        ["runs", "list", "--state", "tired"],
        ["publish"],
    ],
    ids=" ".join,
)
def test_a_wrong_word_is_told_with_exit_code_2(arguments: list[str]) -> None:
    exit_code, stdout, stderr = run(*arguments)
    assert (exit_code, stdout) == (2, "")
    assert "Error" in stderr


@pytest.mark.parametrize("arguments", OF_A_RUNNING_ONE, ids=" ".join)
def test_a_command_without_a_running_tenantry_says_how_to_start_one(arguments: list[str]) -> None:
    line = refused(*arguments, "--data-dir", "nowhere", code=2)
    assert "no Tenantry runs in nowhere: start `tenantry up` there" in line
    assert not Path("nowhere").exists()


@pytest.mark.parametrize("arguments", [*OF_A_RUNNING_ONE[:-1], ["up"]], ids=" ".join)
def test_a_database_that_is_not_there_is_named_without_its_password(arguments: list[str]) -> None:
    Path("master.key").write_text("A" * 43 + "=")
    Path("master.key").chmod(0o600)
    line = refused(*arguments, "--data-dir", ".", code=1, env=NOWHERE)
    assert "does not answer" in line
    assert "TENANTRY_DATABASE_URL" in line


@pytest.mark.endurance
def test_a_broker_that_is_not_there_is_named() -> None:
    Path("events.jsonl").write_text("{}\n")
    line = refused("publish", "events.jsonl", "--data-dir", ".", code=1, env=NOWHERE)
    assert "no Kafka broker answered at 127.0.0.1:1" in line
    assert "TENANTRY_KAFKA_BOOTSTRAP" in line


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"TENANTRY_POLL_SECONDS": "often"}, "setting poll_seconds (TENANTRY_POLL_SECONDS in the environment)"),
        ({"TENANTRY_INTAKE_BATCH": "5000"}, "setting intake_batch"),
        ({"TENANTRY_DATABASE_URL": "mysql://u:verysecret@h/d"}, "write it as postgresql://"),
        ({"TENANTRY_KAFKA_BOOTSTRAP": "nowhere"}, "write it as host:port"),
        ({"TENANTRY_CONFIG": "missing.toml"}, "settings file missing.toml"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("command", [["up"], ["status"], ["intake"]], ids=" ".join)
def test_a_wrong_setting_is_one_line_before_anything_starts(command: list[str], env: dict[str, str], said: str) -> None:
    assert said in refused(*command, "--data-dir", "data", code=2, env=env)
    assert not Path("data").exists()


def test_a_mistyped_name_in_the_settings_file_is_told_with_the_near_one() -> None:
    Path("tenantry.toml").write_text('data_dri = "x"\n')
    assert "unknown setting data_dri in tenantry.toml: did you mean data_dir?" in refused("status", code=2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"{}\nnot json\n", "line 2: the value is not JSON at character 0"),
        (b"{}\n\n[1]\n", "line 3: not a JSON object"),
        (b"{}\n" + b'{"a":' * 100_000, "line 2: the value is nested deeper than 64 levels"),
        (b"{}\n" + b'{"a":' * 70 + b"1" + b"}" * 70, "line 2: the value is nested deeper than 64 levels"),
        (b'{}\n{"data": {"tenant_id": "\\ud800"}}\n', "line 2: NUL or half a surrogate pair"),
        (b'{}\n{"a": "\xed\xa0\x80"}\n', "line 2: not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}\n', "line 1: the value begins with a byte order mark"),
        ('{"a": 1}\n'.encode("utf-16"), "line 1: the value is in UTF-16"),
        ('{"a": 1}\n'.encode("utf-16-be"), "line 1: the value is in UTF-16"),
        (b'{}\n{"a": NaN}\n', "line 2: NaN"),
        (b'{}\n{"a": 1, "a": 2}\n', "line 2: a key stands twice"),
        (b'{}\n{"a": "' + b"x" * 1_048_576 + b'"}\n', "line 2: the value has 1048585 bytes: send at most 1048576"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_publish_refuses_a_file_before_anything_is_sent(content: bytes | None, said: str) -> None:
    if content is not None:
        Path("events.jsonl").write_bytes(content)
    line = refused("publish", "events.jsonl", code=2, env=NOWHERE)
    assert said in line
    assert content is None or line.endswith("nothing was sent")


def test_publish_sends_each_line_as_it_is_with_the_key_of_its_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = InMemoryBroker()
    broker.ensure_topics({"tenantry.lifecycle": 1, "tenantry.commerce": 1})
    monkeypatch.setattr("cli.messages.producer_of", lambda _: MemoryProducer(broker))
    lines = [
        b'{"type": "product.activated",  "data": {"tenant_id": "t-\\u00e9"}}',
        '{"type": "commerce.customer.updated", "data": {"customer_id": "c-é"}}'.encode(),
    ]
    Path("events.jsonl").write_bytes(b"\r\n".join([*lines, b"", b""]))
    Path("master.key").write_text("A" * 43 + "=")
    Path("master.key").chmod(0o600)
    assert run("publish", "events.jsonl", "--data-dir", ".", env=NOWHERE) == (0, "published 2 events\n", "")
    sent = [*broker.messages("tenantry.lifecycle"), *broker.messages("tenantry.commerce")]
    assert [(message.key, message.value) for message in sent] == list(
        zip(["t-é".encode(), "c-é".encode()], lines, strict=True)
    )


@pytest.mark.parametrize("command", [["status"], ["intake"], ["audit", "checkpoint", "key"]], ids=" ".join)
def test_an_unknown_variable_is_one_warning_with_the_near_name_and_without_its_value(command: list[str]) -> None:
    env = {"TENANTRY_POL_SECONDS": "verysecret", "TENANTRY_PORT": "tcp://10.0.0.7:8080"}
    _, stdout, stderr = run(*command, "--data-dir", "nowhere", env=env)
    warnings = [line for line in stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "TENANTRY_POL_SECONDS in the environment: did you mean TENANTRY_POLL_SECONDS?" in warnings[0]
    assert "verysecret" not in stdout + stderr
    assert "TENANTRY_PORT" not in stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense\u202e\x1b[31m\nError: forged"],
        ["show", "one", "two\u202e\x9b31m\nforged"],
        ["--no-such\u2066\nforged"],
        ["tenants", "--level", "ajar\u202e\x1b[2J\nforged"],
        ["show", "t\u202e\x1b[2J\nforged", "--data-dir", "nowhere\u2028forged"],
    ],
    ids=ascii,
)
def test_what_was_typed_is_repeated_as_visible_text_only(arguments: list[str]) -> None:
    exit_code, stdout, stderr = run(*arguments)
    assert (exit_code, stdout) == (2, "")
    assert all(line.isprintable() for line in stderr.split("\n"))
    assert not any(line.startswith(("forged", "Error: forged")) for line in stderr.split("\n"))


@pytest.mark.parametrize(
    "words", ["quarantine discard 1", "runs retry site:t", "runs hold site:t", "runs release site:t"]
)
def test_what_changes_something_needs_a_reason(words: str) -> None:
    assert "the reason is empty" in refused(*words.split(), "--reason", " ", code=2)


def test_restoring_needs_a_reason() -> None:
    assert "the reason is empty" in refused("restore", "some-tenant", "--reason", " ", code=2)


def test_schemas_are_written_for_each_event() -> None:
    exit_code, stdout, _ = run("schemas", "--into", "here", "--json")
    assert exit_code == 0
    assert json.loads(stdout)["schemas"] == sorted(path.name for path in Path("here").iterdir())
    assert len(json.loads(stdout)["schemas"]) == 8


def test_as_a_process_it_ends_without_a_traceback_and_with_the_code() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main", "status", "--data-dir", "a-directory-with-a-long-name" * 5],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "40"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert len(ran.stderr.splitlines()) == 1, "one line, however narrow the terminal"
    assert ran.stderr.startswith("error: no Tenantry runs in")
