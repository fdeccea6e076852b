"""The relay for the tests of what it does: in memory, and with its connections in the core."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from core_relay import CoreRelay
from memory_relay import MemoryRelay
from transport_contract import _log  # noqa: F401

Make = Callable[..., MemoryRelay]


def _made(kind: type[MemoryRelay]) -> Iterator[Make]:
    made: list[MemoryRelay] = []

    def new(*positional: Any, **options: Any) -> MemoryRelay:
        made.append(kind(*positional, **options))
        return made[-1]

    yield new
    for relay in made:
        relay.close()


@pytest.fixture
def make(log: list[str]) -> Iterator[Make]:
    """Makes relays, which are closed at the end; what they log is looked at."""
    yield from _made(MemoryRelay)


@pytest.fixture(params=[MemoryRelay, CoreRelay], ids=["twisted", "core"])
def make_both(request: Any, log: list[str]) -> Iterator[Make]:
    """As make, for each transport."""
    yield from _made(request.param)
