"""Advisory locks of the control database: each has a number of its own, or two parts wait for each other for ever."""

from __future__ import annotations

import importlib
import pkgutil

import adapters.postgres


def test_no_two_advisory_locks_have_the_same_number() -> None:
    found: dict[str, int] = {}
    for module in pkgutil.iter_modules(adapters.postgres.__path__, "adapters.postgres."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if name.endswith("_LOCK") and isinstance(value, int):
                found[name] = value
    assert {"SEAL_LOCK", "PROJECTOR_LOCK", "AGENT_LOCK"} <= found.keys()
    assert len(set(found.values())) == len(found), found
