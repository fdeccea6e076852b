"""The lab that the tests of NATs share, where namespaces can be had."""

import os
from collections.abc import Callable, Iterator

import pytest
from nat_lab import Lab, why_not


@pytest.fixture(scope="session")
def permitted() -> None:
    """Skip where no lab can be had; with ``MU_REQUIRE_NETNS=1`` that is a failure."""
    reason = why_not()
    if reason is not None and os.environ.get("MU_REQUIRE_NETNS") == "1":
        pytest.fail(f"MU_REQUIRE_NETNS is 1, and {reason}")
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def build(permitted: None) -> Iterator[Callable[..., Lab]]:
    """Builds labs, each once in a module."""
    built: dict[tuple[int, bool], Lab] = {}

    def lab(boxes: int = 2, *, isolated: bool = False) -> Lab:
        if (boxes, isolated) not in built:
            built[boxes, isolated] = Lab(boxes, isolated=isolated)
        return built[boxes, isolated]

    yield lab
    for each in built.values():
        each.close()
