"""Does a process say what it should, and keep what it should not say?"""

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from runtime.telemetry import REDACTED, configure_logging, redact


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # `force` closes what it finds, and pytest's own must live
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(log_format: Literal["text", "json"], *, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level=level, log_format=log_format, stream=stream)
    return stream


def test_json_is_one_object_a_line() -> None:
    stream = logged("json")
    structlog.get_logger("workers.intake").info("polled", messages=3)
    [line] = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["messages"], entry["level"], entry["logger"]) == (
        "polled",
        3,
        "info",
        "workers.intake",
    )
    assert entry["timestamp"].endswith("Z")


def test_text_is_for_people() -> None:
    stream = logged("text")
    structlog.get_logger().warning("shard is full", shard="eu-1")
    assert "shard is full" in stream.getvalue()
    assert "shard=eu-1" in stream.getvalue()


def connect() -> None:
    raise ConnectionError("cannot reach postgresql://owner:hunter2@db/tenantry")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_leave_no_trace_in_a_line(log_format: Literal["text", "json"]) -> None:
    stream = logged(log_format)
    try:
        connect()
    except ConnectionError:
        structlog.get_logger().exception(
            "connect to postgres://owner:hunter2@db failed",
            password="hunter2",
            conninfo="host=db password=hunter2 dbname=x",
            details={"api_key": "hunter2", "urls": ["kafka://u:hunter2@k:1"]},
        )
    logging.getLogger("kafka").warning("sasl %s", "amqp://u:hunter2@k")
    assert "hunter2" not in stream.getvalue()
    assert "ConnectionError" in stream.getvalue()
    assert "owner" in stream.getvalue()


def test_names_that_only_sound_like_secrets_stay() -> None:
    event = {
        "product": "jira",
        "keys": 3,
        "idempotency_key": "a/1",
        "tokens_left": 4,
        "url": "postgresql://db:5432/x",
    }
    assert redact(None, "info", dict(event)) == event


@pytest.mark.parametrize(
    "name", ["key", "master_key", "Password", "role_password", "token", "access_token", "client_secret"]
)
def test_the_value_of_a_secret_name_is_taken_out(name: str) -> None:
    assert redact(None, "info", {name: "x"}) == {name: REDACTED}


def test_libraries_are_heard_from_warning_up() -> None:
    stream = logged("json", level="debug")
    logging.getLogger("kafka.conn").info("chatter")
    logging.getLogger("alembic.runtime").warning("heard")
    structlog.get_logger("workers").debug("ours")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["heard", "ours"]


def test_configuring_twice_says_everything_once() -> None:
    logged("text")
    stream = logged("json")
    structlog.get_logger().info("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_foreign_text_forges_no_line_and_colours_nothing() -> None:
    stream = logged("text")
    forged = "x\n2026-06-01T00:00:00Z [info     ] all is well\x1b[2J\u202e\x9b31m"
    structlog.get_logger().warning(forged, reason=forged, **{forged: forged}, many=[forged, {forged: forged}])
    logging.getLogger("a.library").error("said %s", forged)
    error = ConnectionError(forged)
    structlog.get_logger().error("failed", error=error, exc_info=error)
    lines = stream.getvalue().split("\n")[:-1]
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("2026-06-01") for line in lines)
    own = [line for line in lines if not line.startswith("  ")]
    assert len(own) == 3, "each line of a traceback is indented"


def test_json_lines_hold_foreign_text_exactly_and_nothing_that_a_terminal_obeys() -> None:
    stream = logged("json")
    forged = "x\nforged\x1b[2J\u202e\x9b31m\ud800"
    structlog.get_logger().warning(forged, reason=forged)
    [line] = stream.getvalue().splitlines()
    assert line.isprintable()
    assert json.loads(line)["reason"] == json.loads(line)["event"] == forged


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_colours_gets_none(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for environment, coloured in (({"TERM": "xterm", "NO_COLOR": ""}, True), ({"TERM": "xterm", name: value}, False)):
        for each, content in environment.items():
            monkeypatch.setenv(each, content)
        stream = Terminal()
        configure_logging(stream=stream)
        structlog.get_logger().warning("w", reason="r")
        assert ("\x1b[" in stream.getvalue()) is coloured
