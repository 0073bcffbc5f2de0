"""The fixtures that all tests have at hand, the order of the tests, and which of them one process runs."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

pytest_plugins = ["tests.real_parts"]


ROOT_OF_TEMPORARIES = "PYTEST_DEBUG_TEMPROOT"


def pytest_configure(config: pytest.Config) -> None:
    """A folder of its own for the temporary files of each run: a pytest that starts takes the rights on the common one
    away, and with them the files of the database servers of a run beside it. Its name is short, since the path of a
    socket has 107 characters. The processes of xdist find it in their environment."""
    if ROOT_OF_TEMPORARIES in os.environ:
        return
    root = Path(tempfile.gettempdir(), f"{os.getpid():x}")
    root.mkdir(mode=0o700, exist_ok=True)  # pytest looks whose it is
    os.environ[ROOT_OF_TEMPORARIES] = str(root)
    config.add_cleanup(lambda: shutil.rmtree(root, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow files first: whoever runs in parallel then ends at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Thousands of collected tests are no garbage: the collector walked through them again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """What was spared is collected at the end after all: libraries complain of what is left."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """As `--dist loadfile`, but one process runs all journeys that share a Tenantry: each `up` takes 4 s of CPU, and a
    tenth of a core for as long as it is there."""
    if config.getvalue("dist") != "loadfile":
        return None

    def unit_of(nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        is_shared = file.startswith("tests/journeys/") and "Running(" not in (config.rootpath / file).read_text()
        return "tests/journeys" if is_shared else file

    made = LoadFileScheduling(config, log)
    made._split_scope = unit_of  # noqa: SLF001
    return made
