"""Lets these tests use the wires in memory that the transport's tests have."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "transport"))
sys.path.append(str(Path(__file__).parent))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; only where -m asks for it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("long") is not None]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)
