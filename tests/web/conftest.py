"""The control API to be asked, on real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from control_server import Loop, Served, running_loop


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    with running_loop() as loop:
        yield loop


@pytest.fixture
def served(loop: Loop, tmp_path: Path) -> Iterator[Served]:
    served = Served(loop, tmp_path)
    yield served
    served.close()
