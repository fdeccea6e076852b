"""The relay in memory, for the tests of what it does."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from memory_relay import MemoryRelay
from transport_contract import _log  # noqa: F401


@pytest.fixture
def make(log: list[str]) -> Iterator[Callable[..., MemoryRelay]]:
    """Makes relays, which are closed at the end; what they log is looked at."""
    made: list[MemoryRelay] = []

    def new(*positional: Any, **options: Any) -> MemoryRelay:
        made.append(MemoryRelay(*positional, **options))
        return made[-1]

    yield new
    for relay in made:
        relay.close()
