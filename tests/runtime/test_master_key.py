"""Does the master key come from where it should, and stay with who may have it?"""

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.master_key import ensure_master_key, load_master_key
from runtime.settings import Settings
from runtime.settings_error import SettingsError

KEY = base64.b64encode(bytes(range(32))).decode()


def settings_in(directory: Path, **changes: object) -> Settings:
    return Settings.model_validate({"data_dir": directory, **changes})


def test_the_first_start_makes_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "new")
    key = ensure_master_key(settings)
    assert len(key) == 32
    assert stat.S_IMODE(settings.master_key_path.stat().st_mode) == 0o600
    assert ensure_master_key(settings) == load_master_key(settings) == key
    assert [path.name for path in settings.data_dir.iterdir()] == ["master.key"]


def test_processes_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(ensure_master_key, [settings_in(tmp_path)] * 16))
    assert len(keys) == 1


def test_a_key_is_never_made_at_a_place_that_was_set(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, master_key_file=tmp_path / "mistyped.key")
    with pytest.raises(SettingsError, match="is missing"):
        ensure_master_key(settings)
    assert not settings.master_key_path.exists()


def test_the_key_of_the_environment_needs_no_file(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, master_key=KEY)
    assert ensure_master_key(settings) == bytes(range(32))
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    ensure_master_key(settings)
    settings.master_key_path.chmod(0o604)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_master_key(settings)
    settings.master_key_path.chmod(0o440)
    load_master_key(settings)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (KEY[:20] + "==", "base64"),
        ("not base64!", "not base64"),
        (base64.b64encode(b"short").decode(), "has 5 bytes"),
    ],
)
def test_a_key_of_the_wrong_form_is_refused_without_showing_it(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as from_environment:
        load_master_key(settings_in(tmp_path, master_key=text))
    (tmp_path / "master.key").write_text(text)
    (tmp_path / "master.key").chmod(0o600)
    with pytest.raises(SettingsError, match=complaint) as from_file:
        load_master_key(settings_in(tmp_path))
    assert text not in f"{from_environment.value}{from_file.value}"
