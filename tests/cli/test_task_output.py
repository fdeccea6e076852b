"""``mu output`` against the real control API: bytes as they were in a pipe, nothing hostile on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Mu
from control_server import Loop, Served

from mu_twisted.statuses import RunOutput, TaskStatus

LARGE = 64 << 10
GONE = "had to make room for others, as 256 MiB are kept of a job"
MU = Path(sys.executable).with_name("mu")


@pytest.fixture
def job(mu: Mu, served: Served) -> str:
    return mu("submit", "exec", "-n", "9", "true").out.strip()


def keep(served: Served, *runs: RunOutput) -> None:
    served.service.outputs = list(runs)


def raw(served: Served, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [str(MU), "output", "--state-dir", str(served.state), *words]
    return subprocess.run(command, capture_output=True, check=False)


def test_one_task_s_output_is_printed_as_it_is(mu: Mu, served: Served, job: str) -> None:
    keep(served, RunOutput(2, 0, 0, 0, False, 6, b"a\nb\n", "x.png"), RunOutput(3, 0, 0, 3, True, 2, b"no"))
    for words in (["2"], ["x.png"], ["--task", "2"]):
        done = mu("output", job, *words)
        assert (done.status, done.out) == (0, "a\nb\n")
        assert done.err == "note: the last 4 of 6 bytes\n"
    assert mu("output", job, "3").out == "no"


def test_a_pipe_gets_the_bytes(served: Served, job: str) -> None:
    data = bytes(range(256))
    keep(served, RunOutput(2, 0, 0, 0, False, 256, data))
    assert raw(served, job, "2").stdout == data
    assert raw(served, job).stdout == b"==> task 2 <==\n" + data + b"\n"


def test_of_several_runs_each_has_a_line_that_names_it(mu: Mu, served: Served, job: str) -> None:
    keep(
        served,
        RunOutput(2, 1, 0, 0, False, 1, b"a", "x.png"),
        RunOutput(2, 1, 1, -9, True, 0, b"", "x.png"),
        RunOutput(2, 1, 2, 3, True, 9, None, "x.png"),
        RunOutput(3, 0, 0, 0, False, LARGE, b"b" * (LARGE - 1) + b"\n"),
        RunOutput(4, 0, 0, 0, False, 2, b"c\n"),
    )
    heads = [
        "==> x.png (task 2), attempt 1 <==\na\n",
        "==> x.png (task 2), attempt 1, run 1, killed by SIGKILL <==\n",
        f"==> x.png (task 2), attempt 1, run 2, exit status 3, its 9 bytes {GONE} <==\n",
        f"==> task 3, the last {LARGE} bytes <==\n{'b' * (LARGE - 1)}\n",
        "==> task 4 <==\nc\n",
    ]
    assert mu("output", job).out == "".join(heads)
    assert mu("output", job, "--failed").out == "".join(heads[1:3])
    done = mu("output", job, "x.png")
    assert (done.status, done.out) == (1, "".join(heads[:2]))
    assert done.err.startswith("error: x.png (task 2), attempt 1, run 2, exit status 3: its 9 bytes had to")
    assert mu("output", job, "4", "--attempt", "all").out == heads[4]


def test_json_is_one_line_however_many_pages(mu: Mu, served: Served, job: str) -> None:
    keep(
        served,
        *(RunOutput(2, 0, run, 0, False, 2, "ä\n".encode(), "x") for run in range(3)),
        RunOutput(3, 0, 0, 1, True, 1, b"\xff"),
        RunOutput(4, 0, 0, 0, False, 7, None),
    )
    out = mu("output", job, "--json").out
    assert out.count("\n") == 1
    runs = json.loads(out)["runs"]
    assert [run.get("output", run.get("output_base64")) for run in runs] == ["ä\n"] * 3 + ["/w==", None]
    assert [run.get("dropped") for run in runs] == [None] * 4 + [True]
    assert runs[0] == {
        "task": 2,
        "attempt": 0,
        "run": 0,
        "status": 0,
        "failed": False,
        "size": 3 - 1,
        "label": "x",
        "output": "ä\n",
    }
    keep(served)
    assert json.loads(mu("output", job, "--json").out) == {"runs": []}


def test_a_terminal_is_shown_nothing_that_it_would_obey(served: Served, job: str) -> None:
    hostile = b"\x1b]0;owned\x07\x9b31m\r\n\x08\x00\xc2\x9b2J\xe2\x80\xaetxt.exe"
    keep(served, *(RunOutput(task, 0, 0, 0, False, 9, hostile, "\x1b[2J") for task in (2, 3)))
    for words in (["2"], []):
        master, slave = pty.openpty()
        command = [str(MU), "output", "--state-dir", str(served.state), job, *words]
        with subprocess.Popen(command, stdout=slave, env={**os.environ, "PYTHONIOENCODING": "utf-8"}) as process:
            os.close(slave)
            shown = b""
            while True:
                try:
                    piece = os.read(master, 4096)
                except OSError:
                    break
                if not piece:
                    break
                shown += piece
        os.close(master)
        assert process.returncode == 0
        text = shown.decode().replace("\r\n", "\n")
        assert all(c.isprintable() or c == "\n" for c in text), text
        assert "\\x1b]0;owned\\x07\\x9b31m\n\\x08\\x00\\x9b2J\\u202etxt.exe\n" in text


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nosuch"], 1, "no input is called 'nosuch'"),
        (["a\x1bb"], 1, "no input is called"),
        (["\udcff"], 1, r"no input is called '\\xff'"),
        (["9"], 1, "has no task 9"),
        (["--task", "9"], 1, "has no task 9"),
        (["--task", "x"], 2, "expected a task's number"),
        (["--attempt", "x", "1"], 2, "expected an attempt's number, or all, got 'x'"),
        (["1", "--task", "1"], 2, "name two tasks"),
        (["1", "--failed"], 2, "give it without TASK"),
        ([""], 2, "argument TASK|INPUT: expected a value, got ''"),
        (["0"], 1, "error: task 0 has not begun"),
        (["1"], 1, "error: no program of task 1 has ended yet"),
        (["2"], 1, "error: nothing is kept of in.png (task 2): `mu logs"),
        (["1", "--attempt", "0"], 1, "error: nothing is kept of attempt 0 at task 1: `mu logs"),
        (["1", "--attempt", "4"], 1, "error: task 1 has no attempt 4: it has begun 1, counted from 0"),
        (["--attempt", "9"], 1, "error: nothing is kept of any task's attempt 9: attempts are counted from 0"),
    ],
)
def test_why_nothing_is_shown_is_one_line(
    mu: Mu, served: Served, job: str, words: list[str], status: int, said: str
) -> None:
    served.service._tasks[job][1:3] = [TaskStatus(1, "active", 1), TaskStatus(2, "failed", 1, "lost", "in.png")]
    done = mu("output", job, *words)
    assert done.status == status
    assert said in done.error()


def test_of_a_job_that_has_printed_nothing_that_is_said(mu: Mu, job: str, loop: Loop) -> None:
    done = mu("output", job)
    assert (done.status, done.out, done.err) == (0, "", f"nothing is kept of what the tasks of {job} printed\n")


def test_of_a_job_in_which_no_task_has_failed_that_is_said(mu: Mu, served: Served, job: str, loop: Loop) -> None:
    assert mu("output", job, "--failed").err == f"no task of {job} has failed\n"
    loop.do(served.service.end, job, "failed", "the worker was lost")
    assert mu("output", job, "--failed").err == f"nothing is kept of what the tasks of {job} printed\n"


def test_tasks_that_have_printed_nothing_are_left_out(mu: Mu, served: Served, job: str) -> None:
    silent = [RunOutput(task, 0, 0, 0, False, 0, b"") for task in range(4)]
    keep(served, *silent)
    done = mu("output", job)
    assert (done.status, done.out, done.err) == (0, "", f"the tasks of {job} have printed nothing\n")
    done = mu("output", job, "2")
    assert (done.status, done.out, done.err) == (0, "", "task 2 has printed nothing\n")
    assert len(json.loads(mu("output", job, "--json").out)["runs"]) == 4
    keep(served, *silent, RunOutput(5, 0, 0, 0, False, 1, b"x"), RunOutput(6, 0, 0, 3, True, 0, b""))
    done = mu("output", job)
    assert (done.out, done.err) == ("==> task 5 <==\nx\n==> task 6, exit status 3 <==\n", "")
