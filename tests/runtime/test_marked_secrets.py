"""Does no part of a secret stand in what is said about the settings, whatever is wrong with them?

Each secret is made of marked pieces. It is written wrongly in every way that people have, and given in each place that
takes it; then commands and the parts are started. No piece may come out, on stdout, on stderr or in the log.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from audit.checkpoints import Signer
from cli.main import app
from runtime.compose import Parts
from runtime.compose.audit import seal_keys_of
from runtime.compose.provisioner import executors_of
from runtime.instance import Endpoints
from runtime.settings_error import SettingsError
from runtime.settings_layers import load_settings
from runtime.telemetry import configure_logging

MARK = "hUnTeR2"
RAW = (MARK * 5)[:32].encode()
GOOD_KEY = base64.b64encode(RAW).decode()
SIGNER = Signer("log", RAW)
PIECES = {
    MARK,
    *(text[start : start + 6] for text in (GOOD_KEY, SIGNER.secret_text().split("+")[-1]) for start in range(0, 36, 6)),
}

WRONG_KEYS = {
    "text": f"{MARK}-{MARK}!",
    "short": base64.b64encode(MARK.encode()).decode(),
    "long": base64.b64encode(RAW * 2).decode(),
    "cut off": GOOD_KEY[:-3],
    "url-safe": GOOD_KEY.replace("+", "-") + "_-",
    "hex": RAW.hex(),
    "not ASCII": f"{MARK}é{MARK}",
    "half a surrogate": f"{MARK}\udcff",
    "two lines": f"{GOOD_KEY}\n{GOOD_KEY}",
    "quoted": f'"{GOOD_KEY}"',
}
WRONG_SEALS = {
    "no seal": MARK,
    "a name with its key": f"PRIVATE+KEY+log+00000000+{SIGNER.secret_text().split('+')[-1]}",
    "cut off": SIGNER.secret_text()[:-5],
    "another form": f"-----BEGIN PRIVATE KEY-----\n{GOOD_KEY}\n-----END PRIVATE KEY-----",
    "not ASCII": f"{SIGNER.secret_text()}é",
}
WRONG_HOOKS = {
    "no prefix": GOOD_KEY,
    "text": f"whsec_{MARK}!!",
    "short": f"whsec_{MARK}",
    "long": f"whsec_{base64.b64encode(RAW * 4).decode()}",
    "two, one of them wrong": f"whsec_{GOOD_KEY} {MARK}",
    "not ASCII": f"whsec_{MARK}é",
}
SETTINGS = [
    *[("MASTER_KEY", how, value) for how, value in WRONG_KEYS.items()],
    *[("SEAL_KEY", how, value) for how, value in WRONG_SEALS.items()],
    *[("WEBHOOK_SECRETS__MINE", how, value) for how, value in WRONG_HOOKS.items()],
    ("WEBHOOK_SECRETS", "no JSON", f"{{mine: {MARK}}}"),
    ("WEBHOOK_SECRETS", "a list", f'["{MARK}"]'),
    ("WEBHOOK_SECRETS", "a number inside", f'{{"mine": {{"{MARK}": 1}}}}'),
    ("SHARDS", "no JSON", f'[{{"name": "{MARK}'),
    ("SHARDS__EU_1__URL", "no shard of that name", f"postgresql://o:{MARK}@h/d"),
    ("KAFKA_BOOTSTRAP", "with an account", f"user:{MARK}@kafka:9092"),
    ("POLL_SECONDS", "a password in the wrong place", MARK),
    ("LOG_LEVEL", "a password in the wrong place", MARK),
    ("MASTER_KEYS", "a name that is none", MARK),
]
COMMANDS = [["audit", "checkpoint", "key"], ["migrate"]]

CATALOG = (
    '[products.p]\nname = "P"\nfamily = "f"\n[products.p.editions]\nfree = []\n'
    '[products.p.executors.7]\nwebhook = "https://p.example/tenantry"\nsecret = "mine"\n'
)


@pytest.fixture(autouse=True)
def _empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("TENANTRY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "catalog.toml").write_text(CATALOG)
    monkeypatch.setenv("TENANTRY_CATALOG_FILE", "catalog.toml")
    monkeypatch.setenv("TENANTRY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def said_by_commands() -> str:
    told = []
    for command in COMMANDS:
        result = CliRunner().invoke(app, command)
        assert result.exception is None or isinstance(result.exception, SystemExit), command
        told.append(result.output)
    return "".join(told)


def said_by_parts() -> str:
    """The parts without a command around them; a traceback and a line of the log besides."""
    stream = io.StringIO()
    configure_logging(stream=stream)
    try:
        settings = load_settings()
        stream.write(repr(settings))
        with Parts(settings, Endpoints("postgresql://nobody@127.0.0.1:1/none", "127.0.0.1:1")) as parts:
            stream.write(repr(seal_keys_of(parts)))
            assert executors_of(parts)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must say nothing
        stream.write(traceback.format_exc())
        structlog.get_logger().exception("did not start", error=error)
    return stream.getvalue()


def assert_nothing_of_it_is_said(text: str) -> None:
    found = sorted(piece for piece in PIECES if piece in text)
    assert not found, text


@pytest.mark.parametrize(("name", "how", "value"), SETTINGS, ids=[f"{name} {how}" for name, how, _ in SETTINGS])
def test_a_wrong_variable_is_refused_without_a_part_of_it(
    name: str, how: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name != "MASTER_KEY":
        monkeypatch.setenv("TENANTRY_MASTER_KEY", "A" * 43 + "=")
    monkeypatch.setenv(f"TENANTRY_{name}", value)
    assert_nothing_of_it_is_said(said_by_commands())
    assert_nothing_of_it_is_said(said_by_parts())


FILES = [
    *[("MASTER_KEY_FILE", how, value) for how, value in WRONG_KEYS.items()],
    *[("SEAL_KEY_FILE", how, value) for how, value in WRONG_SEALS.items()],
    *[("WEBHOOK_SECRETS_FILE", how, f'mine = "{value}"\n') for how, value in WRONG_HOOKS.items()],
    ("WEBHOOK_SECRETS_FILE", "unquoted", f"mine = {MARK}\n"),
    ("WEBHOOK_SECRETS_FILE", "not closed", f'mine = "{MARK}\n'),
    ("WEBHOOK_SECRETS_FILE", "twice in a table", f'a = {{ mine = "{MARK}", mine = "{MARK}" }}\n'),
    ("WEBHOOK_SECRETS_FILE", "a bare word", MARK),
    ("CONFIG", "an unquoted key", f"master_key = {MARK}\n"),
    ("CONFIG", "a key that is not closed", f'master_key = "{MARK}\n'),
    ("CONFIG", "a bad escape in it", f'master_key = "\\{MARK}"\n'),
    ("CONFIG", "a control character in it", f'master_key = "{MARK}\x01"\n'),
    ("CONFIG", "a key that is no key", f'master_key = "{MARK}"\n'),
    ("CONFIG", "a list for a key", f'seal_key = ["{MARK}"]\n'),
    ("CONFIG", "a table for secrets that is none", f'webhook_secrets = "{MARK}"\n'),
    ("CONFIG", "a number beside a secret", f'[webhook_secrets]\nmine = "{MARK}"\nother = 5\n'),
    (
        "CONFIG",
        "a shard with a password and an error",
        f'[[shards]]\nname = "A B"\nregion = "eu"\nurl = "postgresql://o:{MARK}@h/d"\n',
    ),
]


@pytest.mark.parametrize(("name", "how", "content"), FILES, ids=[f"{name} {how}" for name, how, _ in FILES])
def test_a_wrong_file_is_refused_without_a_part_of_it(
    name: str, how: str, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name not in ("MASTER_KEY_FILE", "CONFIG"):
        monkeypatch.setenv("TENANTRY_MASTER_KEY", "A" * 43 + "=")
    path = Path("the-file")
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    path.chmod(0o604 if how == "text" else 0o600)
    monkeypatch.setenv(f"TENANTRY_{name}", str(path))
    assert_nothing_of_it_is_said(said_by_commands())
    assert_nothing_of_it_is_said(said_by_parts())


def test_the_marks_are_found_where_they_are_said() -> None:
    for text in (f"no such level {MARK}", GOOD_KEY[6:18], str(SettingsError(MARK))):
        with pytest.raises(AssertionError):
            assert_nothing_of_it_is_said(text)
