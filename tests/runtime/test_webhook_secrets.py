"""Do the secrets of webhooks come from where they should, and stay out of what is said about them?"""

import os
from pathlib import Path

import pytest

from runtime.compose import Parts
from runtime.compose.provisioner import executors_of
from runtime.instance import Endpoints
from runtime.settings import Settings
from runtime.settings_error import SettingsError
from runtime.settings_layers import load_settings
from runtime.webhook_secrets import load_webhook_secrets

SECRET = "whsec_" + "a" * 40
OTHER = "whsec_" + "b" * 40


@pytest.fixture(autouse=True)
def _empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("TENANTRY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def secrets_file(directory: Path, text: str, *, mode: int = 0o600) -> Settings:
    path = directory / "webhooks.toml"
    path.write_text(text)
    path.chmod(mode)
    return Settings(webhook_secrets_file=path)


def test_none_are_needed() -> None:
    assert load_webhook_secrets(load_settings()) == {}


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets_file(tmp_path, f'compass = "{SECRET}"\natlas = "{SECRET}"\n')
    monkeypatch.setenv("TENANTRY_WEBHOOK_SECRETS__COMPASS", OTHER)
    monkeypatch.setenv("TENANTRY_WEBHOOK_SECRETS_FILE", "webhooks.toml")
    settings = load_settings()
    assert load_webhook_secrets(settings) == {"compass": OTHER, "atlas": SECRET}
    assert OTHER not in repr(settings)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (f'compass = "{SECRET}"', 0o604, "chmod 600"),
        (f'compass "{SECRET}"', 0o600, "is not TOML"),
        (f'[compass]\nsecret = "{SECRET}"', 0o600, "compass is no text"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_remedy(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(SettingsError, match=r"webhook secrets .*webhooks\.toml") as caught:
        load_webhook_secrets(secrets_file(tmp_path, text, mode=mode))
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match=r"gone\.toml: No such file or directory: correct the path"):
        load_webhook_secrets(Settings(webhook_secrets_file=Path("gone.toml")))


def test_a_catalogue_that_names_a_secret_gets_it_from_the_settings(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(
        '[products.p]\nname = "P"\nfamily = "f"\n[products.p.editions]\nfree = []\n'
        '[products.p.executors.7]\nwebhook = "https://p.example/tenantry"\nsecret = "mine"\n'
    )
    settings = Settings.model_validate(
        {"catalog_file": catalog, "master_key": "A" * 43 + "=", "webhook_secrets": {"mine": SECRET}}
    )
    with Parts(settings, Endpoints("postgresql://nobody@127.0.0.1/none", "127.0.0.1:1")) as parts:
        parts.use(parts.at_hand)  # no database says what is adopted
        assert executors_of(parts)
