"""Which seeds are told?"""

import pytest

SEEDS = 2000
TOGETHER = 20
"""Seeds that one test tells, so that several processes share them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="tell the story of this seed alone")
    parser.addoption("--seeds", type=int, default=SEEDS, help="how many seeds are told, from 0 on")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A seed that is asked for is told alone."""
    if config.getoption("--seed", None) is not None:
        alone = [item for item in items if "seeds" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in alone])
        items[:] = alone


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" not in metafunc.fixturenames:
        return
    one = metafunc.config.getoption("--seed", None)
    end = metafunc.config.getoption("--seeds", SEEDS)
    told = (
        [range(one, one + 1)]
        if one is not None
        else [range(at, min(at + TOGETHER, end)) for at in range(0, end, TOGETHER)]
    )
    metafunc.parametrize("seeds", told, ids=lambda seeds: f"seeds {seeds.start} to {seeds.stop - 1}")
