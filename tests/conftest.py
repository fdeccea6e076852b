"""What holds for all tests."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

# The gate says the same of the same code: properties are tried on the same examples each time. MU_SEARCH=1 looks
# for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", derandomize=False, deadline=None, max_examples=1000)
settings.load_profile("search" if os.environ.get("MU_SEARCH") else "same")


REMARKS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def remark(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Takes a line for the summary: what was tried, in numbers."""
    return pytestconfig.stash.setdefault(REMARKS, []).append


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = config.stash.get(REMARKS, [])
    if lines:
        terminalreporter.section("what was tried")
        for line in lines:
            terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["remarks"] = session.config.stash.get(REMARKS, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process that ran a part of the tests has ended; the summary is ours."""
    node.config.stash.setdefault(REMARKS, []).extend(node.workeroutput.get("remarks", []))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; only where -m asks for it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("long") is not None]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)
