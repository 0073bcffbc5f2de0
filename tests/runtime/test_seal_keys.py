"""Do the keys of the seal come from where they should, and stay with who may have them?"""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from audit.checkpoints import Signer
from runtime.seal_keys import ensure_seal_key, load_seal_keys
from runtime.settings import Settings
from runtime.settings_error import SettingsError


def settings_in(directory: Path, **changes: object) -> Settings:
    return Settings.model_validate({"data_dir": directory, **changes})


def test_the_first_start_makes_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "new")
    ensure_seal_key(settings)
    keys = load_seal_keys(settings)
    ensure_seal_key(settings)
    assert load_seal_keys(settings) == keys
    assert keys.origin == "tenantry.example/log"
    assert keys.signer is not None
    assert stat.S_IMODE(settings.seal_key_path.stat().st_mode) == 0o600


def test_without_a_key_there_is_a_name_for_the_log_and_nobody_who_signs(tmp_path: Path) -> None:
    keys = load_seal_keys(settings_in(tmp_path, site_domain="example.org"))
    assert (keys.origin, keys.signer, keys.verifiers) == ("example.org/log", None, ())


def test_the_key_of_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    signer = Signer.generate("elsewhere")
    settings = settings_in(tmp_path, seal_key=signer.secret_text(), seal_key_file=tmp_path / "not-there")
    ensure_seal_key(settings)
    assert load_seal_keys(settings).signer == signer
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_never_made_at_a_place_that_was_set(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, seal_key_file=tmp_path / "mistyped.key")
    ensure_seal_key(settings)
    with pytest.raises(SettingsError, match=r"mistyped\.key is missing"):
        load_seal_keys(settings)


def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    ensure_seal_key(settings)
    settings.seal_key_path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_seal_keys(settings)


def test_a_malformed_key_is_named_and_not_repeated(tmp_path: Path) -> None:
    secret = Signer.generate("elsewhere").secret_text()
    with pytest.raises(SettingsError, match="setting seal_key: line 1") as caught:
        load_seal_keys(settings_in(tmp_path, seal_key=secret[:-8]))
    assert secret[-30:-8] not in str(caught.value)
    assert secret not in repr(settings_in(tmp_path, seal_key=secret))
