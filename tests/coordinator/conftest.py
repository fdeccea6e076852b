"""A coordinator's jobs in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_jobs import MemoryCoordinator


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MemoryCoordinator]:
    world = MemoryCoordinator(tmp_path)
    yield world
    world.journal.close()
