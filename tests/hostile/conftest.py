"""What hostile peers are let loose on: daemons of our own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile_peers import Target


@pytest.fixture
def tried(remark: Callable[[str], None]) -> Callable[[str], None]:
    """Takes a line for the summary: what was tried, in numbers."""
    return lambda line: remark(f"hostile peers: {line}")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Callable[..., Target]]:
    """Starts a daemon to be attacked, with a log to be read and keys to reach it with."""
    started: list[Target] = []

    def begin(*words: str) -> Target:
        log = tmp_path / "log"
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, *words], cwd=tmp_path, stdout=out, stderr=out)
        started.append(Target(process, log, tmp_path / "state"))
        started[-1].wait_until_ready()
        return started[-1]

    yield begin
    for running in started:
        running.process.kill()
        running.process.wait()
