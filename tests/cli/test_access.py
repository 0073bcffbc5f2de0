"""Does `tenantry access` say which line of the allow-list allows or refuses a call, and end with the code for it?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app

TEXT = """\
# reviewed by security

[[allow]]
caller = "billing"
callee = "context-service"
routes = ["GET /v1/tenants/{id}"]

[[allow]]
caller = "support-console"
callee = "engine"
commands = ["runs.retry"]
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("access.toml").write_text(TEXT)


def access(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["access", *arguments])


def test_explain_names_the_line_that_allows_a_call() -> None:
    result = access("explain", "billing", "context-service", "GET", "/v1/tenants/t-1?fields=%2f")
    assert result.exit_code == 0
    assert result.stdout == (
        "allowed: access.toml: entry 1 (line 3) allows billing -> context-service: GET /v1/tenants/{id}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("billing", "context-service", "POST", "/v1/tenants/t-1"), "no entry allows billing -> context-service: POST"),
        (("billing", "engine", "GET", "/"), "no entry allows billing to call engine at all"),
        (("billing", "context-service", "GET", "/v1/tenants/a%2fb"), "an escaped /"),
        (("support-console", "engine", "COMMAND", "runs.hold"), "no entry allows support-console -> engine: command"),
    ],
)
def test_explain_says_why_a_call_is_refused(arguments: tuple[str, ...], says: str) -> None:
    result = access("explain", *arguments)
    assert result.exit_code == 1
    assert result.stdout.startswith("refused: access.toml: ")
    assert says in result.stdout
    assert access("check", *arguments).exit_code == 1


def test_explain_answers_programs_in_json() -> None:
    result = access("explain", "support-console", "engine", "COMMAND", "runs.retry", "--json")
    assert json.loads(result.stdout) == {
        "allowed": True,
        "reason": "entry 2 (line 8) allows support-console -> engine: command runs.retry",
        "entry": 2,
        "line": 8,
        "allowed_by": "command runs.retry",
    }


def test_check_is_silent_about_a_call_and_its_exit_code_tells() -> None:
    result = access("check", "billing", "context-service", "GET", "/v1/tenants/t-1")
    assert (result.exit_code, result.output) == (0, "")


def test_check_answers_programs_in_json() -> None:
    assert json.loads(access("check", "--json").stdout) == {"entries": 2}
    refused = access("check", "billing", "engine", "GET", "/", "--json")
    assert (refused.exit_code, json.loads(refused.stdout)) == (1, {"allowed": False})


def test_check_of_a_file_counts_its_entries() -> None:
    assert access("check").stdout == "access.toml: 2 entries, good\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[[allow", "not TOML"),
        (b"[[allow]]\ncaller = 'a'\n", "entry 1"),
        (b"\xff", "is not UTF-8"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_file_is_one_line_and_exit_2(content: bytes | None, says: str) -> None:
    Path("access.toml").unlink() if content is None else Path("access.toml").write_bytes(content)
    for arguments in (("check",), ("explain", "a", "b", "GET", "/"), ("check", "a", "b", "GET", "/")):
        result = access(*arguments)
        assert result.exit_code == 2
        assert says in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_wrong_question_is_exit_2() -> None:
    assert access("explain", "billing", "context-service", "FETCH", "/").exit_code == 2
    assert access("check", "billing", "context-service").exit_code == 2
