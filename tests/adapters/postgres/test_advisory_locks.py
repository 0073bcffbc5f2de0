"""Advisory locks of the control database: each has a number of its own, or two parts wait for each other for ever."""

from __future__ import annotations

import importlib
import pkgutil

import adapters.postgres


def test_no_two_advisory_locks_have_the_same_number() -> None:
    modules = [
        importlib.import_module(each.name)
        for each in pkgutil.iter_modules(adapters.postgres.__path__, "adapters.postgres.")
    ]
    found = {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if name.endswith("_LOCK") and isinstance(value, int)
    }
    assert {"SEAL_LOCK", "PROJECTOR_LOCK", "AGENT_LOCK"} <= found.keys()
    assert len(set(found.values())) == len(found), found
