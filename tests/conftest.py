"""What holds for all tests."""

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import secret_search
import warm_processes
from hypothesis import HealthCheck, settings

# The gate says the same of the same code: properties are tried on the same examples each time, the long tests
# (--hypothesis-profile=full) on all and the others on the first of them. MU_SEARCH=1 looks for new ones. How long that
# takes is no fault: it depends on what else the machine does.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("same", derandomize=True, max_examples=30, **PATIENT)
settings.register_profile("full", derandomize=True, max_examples=100, **PATIENT)
settings.register_profile("search", derandomize=False, max_examples=1000, **PATIENT)
settings.load_profile("search" if os.environ.get("MU_SEARCH") else "same")


REMARKS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def remark(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Takes a line for the summary: what was tried, in numbers."""
    return pytestconfig.stash.setdefault(REMARKS, []).append


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails at the end of all tests if a key that they have made stands in a log, or in what a process that they ran to
    its end has printed."""
    yield
    assert secret_search.found(tmp_path_factory.getbasetemp(), warm_processes.printed) == []


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


TOGETHER = ("tests/chaos", "tests/client", "tests/local")
"""Directories whose files share what takes seconds to start."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where files are spread over processes, the files of such a directory go to one."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            directory = file.rpartition("/")[0]
            return directory if directory in TOGETHER else file

    return Scheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; only where -m asks for it")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        # A shell ignores it for what it runs in the background, and what the tests start would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection(session: pytest.Session) -> None:
    """Next to nothing of what is made meanwhile is garbage, and all of it would be searched for some many times."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests and hundreds of modules stay to the end: no search for garbage goes through them again."""
    gc.freeze()
    gc.enable()


SLOW = ("tests/netns", "tests/worker_lambda", "tests/aws", "tests/cli")
"""Directories whose files take longest, besides those that start daemons, the slowest first."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Of the files that take longest, one that came last would be waited for by all that are through.
    slow = {item.path for item in items if item.get_closest_marker("process") is not None}
    places = {directory: place for place, directory in enumerate(SLOW)}

    def place(item: pytest.Item) -> int:
        return -1 if item.path in slow else places.get(item.nodeid.partition("::")[0].rpartition("/")[0], len(SLOW))

    items.sort(key=place)
    if not config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("long") is not None]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)
