"""Pipelines that block or end the process, under the real daemon: one job's loss, and no other's."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from daemon_processes import Coordinate, Local
from encoder_jobs import environment
from warm_processes import LIMIT, MU
from warm_processes import run as run_warm

Daemon = Callable[..., "subprocess.Popen[str]"]
PIPELINE = """\
import os
from mu_twisted.pipelines import Pipeline
async def task(w):
    {body}
pipeline = Pipeline(name="mine", summary="", first=task)
"""

pytestmark = pytest.mark.process


def write(directory: Path, body: str) -> str:
    path = directory / "mine.py"
    path.write_text(PIPELINE.format(body=body))
    return str(path)


def mu(local: Local, directory: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return run_warm(*MU, words[0], "--state-dir", str(local.state_dir), *words[1:], env=environment(directory, {}))


def test_a_one_shot_job_that_blocks_ends_with_its_place(local: Local, coordinate: Coordinate, tmp_path: Path) -> None:
    ended = coordinate(*local.words(write(tmp_path, "while True: pass"), "-n", "2"))
    assert ended.status == 1
    assert "blocked 0.5 s at mine.py line 4, in task: a pipeline must not block" in ended.out + ended.err


def test_a_one_shot_job_that_never_yields_is_one_line(
    local: Local, coordinate: Coordinate, daemon: Daemon, tmp_path: Path
) -> None:
    ended = coordinate("--freeze-limit", "1.5", *local.words(write(tmp_path, "sum(range(10**12))"), "-n", "1"))
    assert ended.status == 1
    line = ended.complained()
    assert line.startswith("error: job mine-")
    assert ", task 0: its code did not yield for 1.5 s at mine.py line 4, in task, so the process ends" in line
    # It is in the journal, unlike those that end: a daemon would go on with it.
    daemon(*local.words()[:5], "--hold-all")
    job = line.split()[2].rstrip(",")
    assert "--hold-all" in mu(local, tmp_path, "status", job).stdout
    assert mu(local, tmp_path, "cancel", job).returncode == 0
    assert mu(local, tmp_path, "rm", job).returncode == 0


@pytest.mark.parametrize("body", ["os._exit(0)", pytest.param("os.kill(os.getpid(), 11)", marks=pytest.mark.long)])
def test_a_job_that_ends_the_daemon_twice_is_held_and_named(
    local: Local, daemon: Daemon, tmp_path: Path, body: str
) -> None:
    words = local.words()[:5]
    first = daemon(*words)
    submitted = mu(
        local, tmp_path, "submit", write(tmp_path, body), "-n", "1", "-b", local.BUCKET, "-l", local.FUNCTION
    )
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.strip()
    first.wait(LIMIT)
    daemon(*words, ready=None).wait(LIMIT)
    daemon(*words)
    fact = json.loads(mu(local, tmp_path, "status", job, "--json").stdout)
    fact = fact.get("job") if isinstance(fact.get("job"), dict) else fact
    assert fact["state"] == "held"
    assert "its code has ended the coordinator 2 times in a row, the last time in its task 0" in fact["error"]
    assert mu(local, tmp_path, "cancel", job).returncode == 0
    assert mu(local, tmp_path, "rm", job).returncode == 0
