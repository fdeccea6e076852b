"""What befalls the coordinator: it is asked to stop, its disk fills up, its clock jumps, a second one is started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos_journal import read
from chaos_stage import BUCKET, SHELL, Stage, until
from chaos_tree import send, tree
from warm_processes import LIMIT, MU, TWISTD, Process, run

from mu_twisted.client import RequestRefused
from mu_twisted.local import find

pytestmark = pytest.mark.process

STOPS_WITHIN = 5.0
"""Seconds that the coordinator has after SIGTERM."""


def submit(stage: Stage, *words: str, tasks: int = 2) -> str:
    """A job of shell commands; its name."""
    request = {"pipeline": "exec", "words": ["-n", str(tasks), "-b", BUCKET, "-l", SHELL, *words], "source": None}
    return str(stage.api.post("jobs", body=request)["job"])


def over(stage: Stage, job: str) -> dict[str, Any]:
    """The job when it is over."""
    found: list[dict[str, Any]] = []

    def is_over() -> bool:
        fact = stage.job(job)
        found.extend([fact] if fact is not None and fact["state"] != "running" else [])
        return bool(found)

    until(is_over, f"{job} is over", LIMIT, 0.1)
    return found[0]


def running(stage: Stage, job: str, count: int) -> None:
    """Wait until so many of the job's attempts are under way."""
    until(lambda: len(read(stage.state_dir, job).live) == count, f"{count} attempts of {job} are under way", LIMIT)


def test_a_coordinator_that_is_killed_goes_on_with_its_job_and_runs_again_what_ran(own: Callable[..., Stage]) -> None:
    stage = own()
    stage.coordinator.start()
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as answers, socket.socket() as held:
        # Tasks 2 and 3 take as long as this answers nothing; afterwards the port is held, so that they are refused.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(answers.getsockname())
        wait = f"bash -c 'read -r < /dev/tcp/127.0.0.1/{held.getsockname()[1]}'"
        words = ("--max-workers", "2", "--retries", "0", "--", f"test {{n}} -lt 2 || {wait} || true")
        job = submit(stage, *words, tasks=4)
        until(lambda: set(read(stage.state_dir, job).results) == {0, 1}, "the first tasks are done", LIMIT)
        running(stage, job, 2)
        stage.coordinator.kill()
        stage.coordinator.start()
        answers.close()
        assert over(stage, job)["state"] == "done"
    story = read(stage.state_dir, job)
    assert set(story.results.values()) == {1}
    assert not story.after_result
    assert not any(story.costs.values())


@pytest.mark.long
def test_an_idle_coordinator_stops_within_seconds(own: Callable[..., Stage]) -> None:
    stage = own()
    stage.coordinator.start()
    stage.coordinator.stop(STOPS_WITHIN)


@pytest.mark.long
def test_a_coordinator_that_launches_stops_within_seconds_and_goes_on_launching(own: Callable[..., Stage]) -> None:
    stage = own("--launch-rate", "2")
    stage.coordinator.start()
    job = submit(stage, "--", "true", tasks=8)
    until(lambda: read(stage.state_dir, job).live or read(stage.state_dir, job).ended, "the first worker has come")
    stage.coordinator.stop(STOPS_WITHIN)
    assert len(read(stage.state_dir, job).results) < 8
    stage.coordinator.start()
    assert over(stage, job)["state"] == "done"
    assert read(stage.state_dir, job).generation == 1


@pytest.mark.long
def test_a_coordinator_whose_tasks_run_stops_within_seconds_and_runs_them_again(own: Callable[..., Stage]) -> None:
    stage = own()
    stage.coordinator.start()
    job = submit(stage, "--max-workers", "2", "--retries", "0", "--", "test {n} -lt 2 || sleep 1", tasks=4)
    until(lambda: set(read(stage.state_dir, job).results) == {0, 1}, "the first tasks are done")
    running(stage, job, 2)
    stage.coordinator.stop(STOPS_WITHIN)
    stage.coordinator.start()
    assert over(stage, job)["state"] == "done"
    story = read(stage.state_dir, job)
    assert set(story.results.values()) == {1}
    assert not story.after_result
    assert not any(story.costs.values())


@pytest.mark.long
def test_a_coordinator_that_cancels_stops_within_seconds_and_keeps_it_cancelled(own: Callable[..., Stage]) -> None:
    stage = own()
    stage.coordinator.start()
    job = submit(stage, "--", "sleep 600")
    running(stage, job, 2)
    # They cannot take their leave, so that the cancelling takes its time.
    frozen = at_work(stage, job)
    assert len(frozen) == 2
    for pid in frozen:
        send(pid, signal.SIGSTOP)
    words = (*MU, "cancel", job, "--state-dir", str(stage.state_dir))
    cancelling = Process(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: (stage.job(job) or {}).get("state") == "cancelled", "the job is cancelled")
        stage.coordinator.stop(STOPS_WITHIN)
    finally:
        for pid in frozen:
            send(pid, signal.SIGCONT)
        cancelling.wait(30)
    stage.coordinator.start()
    assert (stage.job(job) or {})["state"] == "cancelled"
    until(lambda: not at_work(stage, job).intersection(frozen), "its workers have been sent home")


def at_work(stage: Stage, job: str) -> set[int]:
    """The processes of the job's workers."""
    return {process.pid for process in tree(stage.stack_pid).workers(job).values()}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB at the place of the state directory."""
    place = tmp_path / "state"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this user cannot mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: Path) -> Path:
    """Take all the room there is."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as sink:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while sink.write(b"x" * size):
                    pass
            except OSError:
                continue
    return filler


@pytest.mark.long
def test_a_full_disk_is_told_of_and_ends_no_job(own: Callable[..., Stage], small_disk: Path) -> None:
    stage = own()
    stage.coordinator.start()
    job = submit(stage, "--max-workers", "2", "--", "sleep 0.3", tasks=12)
    until(lambda: len(read(stage.state_dir, job).results) >= 2, "two tasks are done")
    filler = fill(small_disk)
    until(lambda: stage.api.get("daemon")["note"], "the coordinator says what is wrong")
    note = stage.api.get("daemon")["note"]
    assert "cannot be written" in note
    assert "no new job is taken" in stage.coordinator.said()
    with pytest.raises(RequestRefused, match="no new job is taken"):
        submit(stage, "--", "true")
    assert over(stage, job)["state"] == "done"
    assert len(read(stage.state_dir, job).results) < 12
    filler.unlink()
    until(lambda: stage.api.get("daemon")["note"] is None, "the coordinator is well again")
    story = read(stage.state_dir, job)
    assert sorted(story.results) == list(range(12))
    assert story.finished == [None]
    assert over(stage, submit(stage, "--", "true"))["state"] == "done"
    stage.coordinator.kill()
    stage.coordinator.start()
    assert (stage.job(job) or {})["done"] == 12


@pytest.mark.long
@pytest.mark.parametrize("before", [False, True])
def test_a_disk_that_is_full_at_the_start_is_told_of_in_one_line(
    own: Callable[..., Stage], small_disk: Path, before: bool
) -> None:
    stage = own()
    if before:
        stage.coordinator.start()
        stage.coordinator.stop()
    port = (small_disk / "port").read_text(encoding="ascii") if before else None
    filler = fill(small_disk)
    stage.coordinator.start(None)
    until(lambda: stage.coordinator.ended, "the coordinator gives up")
    [line] = [line for line in stage.coordinator.said().splitlines() if line.startswith("error: ")]
    assert str(small_disk) in line
    assert "move it away" not in line
    assert "Traceback" not in stage.coordinator.said()
    filler.unlink()
    assert port in (None, stage.coordinator.start()[1] + "\n")


@pytest.mark.long
def test_a_coordinator_killed_with_its_stack_goes_on_with_another(tmp_path: Path) -> None:
    stage = Stage(tmp_path, stack=False)
    stage.coordinator.start()
    try:
        until(lambda: find(stage.state_dir / "local"), "the coordinator has started a stack", 60.0)
        stage.prepare()
        job = submit(stage, "--max-workers", "2", "--out", "o/{n}", "--", "sleep 1; echo {n} > {out}", tasks=6)
        until(lambda: len(read(stage.state_dir, job).results) >= 2, "two tasks are done")
        running(stage, job, 2)
        stage.coordinator.kill()
        stage.coordinator.start()
        assert over(stage, job)["state"] == "done"
        stage.forget_stack()
        stored = [stage.control.get_object(BUCKET, f"o/{number}") for number in range(6)]
        assert stored == [b"%d\n" % number for number in range(6)]
        assert set(read(stage.state_dir, job).results.values()) == {1}
    finally:
        stage.close()


JUMPING = """
import os, time
_real = time.time
def _jumped():
    try:
        with open(os.environ["CHAOS_CLOCK"]) as offset:
            return _real() + float(offset.read() or 0)
    except OSError:
        return _real()
time.time = _jumped
"""


@pytest.mark.long
def test_nothing_happens_when_the_clock_jumps(own: Callable[..., Stage], tmp_path: Path) -> None:
    stage = own()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(JUMPING, encoding="ascii")
    clock = tmp_path / "clock"
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
    stage.coordinator.environ.update(PYTHONPATH=path, CHAOS_CLOCK=str(clock))
    stage.coordinator.warm = False
    stage.coordinator.start()
    job = submit(stage, "--max-workers", "2", "--retries", "0", "-m", "30", "--", "sleep 1", tasks=6)
    for count, jump in ((1, "86400"), (3, "-86400")):
        until(lambda count=count: len(read(stage.state_dir, job).results) >= count, f"{count} tasks are done")
        clock.write_text(jump, encoding="ascii")
    fact = over(stage, job)
    assert fact["state"] == "done"
    assert fact["ended"] < time.time() - 80_000  # it is the jumping clock that it reads
    story = read(stage.state_dir, job)
    assert story.attempts == 6
    assert story.launched == 2


@pytest.mark.long
def test_a_second_coordinator_on_the_same_state_directory_disturbs_nothing(stage: Stage, tmp_path: Path) -> None:
    job = submit(stage, "--", "sleep 2")
    running(stage, job, 2)
    second = run(*TWISTD, *stage.coordinator.words, cwd=tmp_path, timeout=60)
    assert second.returncode == 1
    assert f"in use by process {stage.coordinator.pid}" in second.stderr
    assert over(stage, job)["state"] == "done"
    assert read(stage.state_dir, job).attempts == 2
