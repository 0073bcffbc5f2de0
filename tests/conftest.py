"""Which fixtures have all tests at hand, and which tests come first?"""

import pytest

pytest_plugins = ["tests.real_parts"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow files first: whoever runs in parallel then ends at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)
