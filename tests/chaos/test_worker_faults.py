"""What befalls workers: they freeze, their connection goes nowhere, their job is cancelled under them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chaos_journal import read
from chaos_stage import BUCKET, SHELL, Stage, until
from chaos_tree import Tree, send, tree

from mu_twisted.jobs import Failure

pytestmark = [pytest.mark.process, pytest.mark.long]


def submit(stage: Stage, *words: str) -> str:
    """A job of shell commands; its name."""
    request = {"pipeline": "exec", "words": ["-b", BUCKET, "-l", SHELL, *words], "source": None}
    return str(stage.api.post("jobs", body=request)["job"])


def programs(found: Tree) -> list[int]:
    """What workers run."""
    return [child.pid for worker in found.workers().values() for child in found.children(worker.pid)]


def test_no_process_of_a_cancelled_job_is_left(stage: Stage) -> None:
    until(lambda: not tree(stage.stack_pid).workers(), "the workers of other tests are gone")
    job = submit(stage, "-n", "50", "--", "sleep 600 & sleep 600; wait")
    until(lambda: len(read(stage.state_dir, job).live) == 50, "50 attempts are under way", 60.0, 0.2)
    until(lambda: len(programs(tree(stage.stack_pid))) == 50, "50 programs run", 60.0, 0.2)
    before = tree(stage.stack_pid)
    running = {*programs(before), *(child.pid for pid in programs(before) for child in before.children(pid))}
    assert len(running) >= 100
    stage.api.post("jobs", job, "cancel")
    until(lambda: not running.intersection(tree(stage.stack_pid).processes), "no program is left")
    until(lambda: not tree(stage.stack_pid).workers(), "no worker is left")
    assert read(stage.state_dir, job).finished == ["cancelled by its user"]


def test_a_frozen_workers_task_is_done_by_another_and_its_return_changes_nothing(stage: Stage) -> None:
    job = submit(stage, "-n", "2", "--max-workers", "1", "--out", "frozen/{n}", "--", "sleep 2; echo {n} > {out}")
    until(lambda: read(stage.state_dir, job).live, "a worker is at work")
    [launch_id] = read(stage.state_dir, job).live.values()
    frozen = tree(stage.stack_pid).workers(job)[str(launch_id)].pid
    send(frozen, signal.SIGSTOP)
    try:
        [attempt] = read(stage.state_dir, job).live
        until(lambda: attempt in read(stage.state_dir, job).ended, "the attempt is given up", 120.0, 0.5)
        record = read(stage.state_dir, job).ended[attempt]
        assert record["kind"] == Failure.HEARTBEAT.value
        assert "pings" in record["error"]
    finally:
        send(frozen, signal.SIGCONT)
    until(lambda: (stage.job(job) or {})["state"] != "running", "the job is over", 60.0, 0.2)
    assert (stage.job(job) or {})["state"] == "done"
    assert [stage.control.get_object(BUCKET, f"frozen/{number}") for number in range(2)] == [b"0\n", b"1\n"]
    until(lambda: not tree(stage.stack_pid).workers(), "no worker is left")


def test_a_half_open_connection_is_found_and_its_task_done_again(tmp_path: Path) -> None:
    script = Path(__file__).with_name("half_open.py")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, script, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("this user can make no network of its own")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["kinds"] == [Failure.HEARTBEAT.value] * 2
    assert told["state"] == "done"
    assert told["attempts"] == 4
