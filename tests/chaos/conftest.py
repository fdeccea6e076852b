"""One stage, that is one embedded stack, for all tests that put faults on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos_stage import Stage


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """With a coordinator that runs, and is to be left so."""
    stage = Stage(tmp_path_factory.mktemp("chaos"))
    try:
        stage.open()
        yield stage
    finally:
        stage.close()


@pytest.fixture
def own(stage: Stage, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes a stage of the test's own on the same stack; its coordinator is not started yet."""
    made: list[Stage] = []

    def make(*options: str) -> Stage:
        made.append(Stage(tmp_path, *options, beside=stage))
        return made[-1]

    yield make
    for each in made:
        each.close()
