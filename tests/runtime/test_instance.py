"""Do commands find the Tenantry that runs, and only one that runs?"""

import json
import os
from pathlib import Path

import pytest

from domain.errors import UsageError
from runtime.instance import CARD, Endpoints, endpoints, hold, leave_card, running, take_card_away
from runtime.settings_layers import load_settings

WHERE = Endpoints("postgresql://postgres@/tenantry", "127.0.0.1:9092", "127.0.0.1", 5432)


def test_an_up_that_runs_is_found_by_its_card(tmp_path: Path) -> None:
    with hold(tmp_path) or pytest.fail("nobody else is here"):
        leave_card(tmp_path, WHERE)
        assert endpoints(load_settings(data_dir=tmp_path)) == WHERE


def test_a_card_whose_up_is_gone_counts_for_nothing(tmp_path: Path) -> None:
    leave_card(tmp_path, WHERE)
    with hold(tmp_path) or pytest.fail("nobody else is here"):
        pass
    assert running(tmp_path) is None
    with pytest.raises(UsageError, match="start `tenantry up`"):
        endpoints(load_settings(data_dir=tmp_path))


def test_only_one_up_holds_a_directory(tmp_path: Path) -> None:
    with hold(tmp_path) or pytest.fail("nobody else is here"):
        assert hold(tmp_path) is None


def test_the_card_is_for_its_user_only_and_is_taken_away(tmp_path: Path) -> None:
    leave_card(tmp_path, WHERE)
    assert (tmp_path / CARD).stat().st_mode & 0o077 == 0
    assert json.loads((tmp_path / CARD).read_text())["pid"] == os.getpid()
    take_card_away(tmp_path)
    assert not (tmp_path / CARD).exists()


def test_settings_go_before_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_DATABASE_URL", "postgresql://other@elsewhere/tenantry")
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", "elsewhere:9092")
    with hold(tmp_path) or pytest.fail("nobody else is here"):
        leave_card(tmp_path, WHERE)
        found = endpoints(load_settings(data_dir=tmp_path))
    assert (found.database_url, found.kafka_bootstrap) == ("postgresql://other@elsewhere/tenantry", "elsewhere:9092")
