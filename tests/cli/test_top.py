"""mu top shows what jobs do now: on a terminal until q is pressed, elsewhere once."""

import io
import json
import os
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from command_line import Mu
from control_server import Loop, Served
from rich.console import Console
from warm_processes import LIMIT

from mu_twisted.cli._top_screen import screen
from mu_twisted.coordinator import Request

DAEMON = {"version": "0.2.0", "jobs": 2, "workers": 9, "loop_lag": 0.25, "note": None, "launch_rate": None}


def job(name: str, ages: list[float], **changes: Any) -> dict[str, Any]:
    status = {"job": name, "state": "running", "tasks": 10, "done": 2, "failed": 1, "active": 4, "waiting": 3}
    tasks = [
        {"task": task, "attempt": 0, "seconds": age, "label": f"in/{task}", "launch": f"0-{task}"}
        | {"speculative": False, "waits": None}
        for task, age in enumerate(ages)
    ]
    return {
        "job": status | {"launches": 2, "median": 1.0} | changes,
        "active": {"tasks": tasks, "workers": {"idle": 1, "working": 4, "warming": 0}},
    }


def drawn(jobs: list[Any], *, width: int = 100, height: int | None = 24, colour: bool = False, **more: Any) -> str:
    out = io.StringIO()
    system: Any = "standard" if colour else None
    console = Console(
        file=out, width=width, height=height, force_terminal=colour, color_system=system, no_color=False, _environ={}
    )
    found = {"daemon": DAEMON | more.pop("daemon", {}), "jobs": jobs, "more": more.pop("rest", 0)}
    console.print(screen(found, width, height, {"a": 2.5}, **more), end="")
    return out.getvalue()


def test_it_shows_the_coordinator_the_jobs_and_what_has_run_longest() -> None:
    shown = drawn([job("a", [3.0, 250.0]), job("b", [10.0])])
    head, *rest = shown.splitlines()
    assert head == "coordinator 0.2.0  2 jobs run  9 workers connected  loop lag 250 ms"
    alone = drawn([job("a", [3.0], launches=1, waiting=1)], daemon={"jobs": 1, "workers": 1}, rest=1)
    assert alone.startswith("coordinator 0.2.0  1 job runs  1 worker connected")
    for said in ("1 worker to come", "1 task waits\n", "and 1 job more\n"):
        assert said in alone
    assert rest[0].startswith("a  ━")
    assert "30 %  2 of 10 done  1 failed  4 active  2 workers to come  about 1.8 s left  2.5/s" in rest[0]
    assert rest[1] == "  workers: 1 idle, 4 working, 2 to come; 3 tasks wait"
    rows = [line.split() for line in rest[5:]]
    assert rows[0] == ["AGE", "JOB", "TASK", "INPUT", "ATTEMPT,", "FROM", "0", "WORKER", "WAITS"]
    assert rows[1] == ["4:10", "min", "a", "1", "in/1", "0", "0-1"]
    assert rows.pop() == ["and", "5", "active", "tasks", "more"]
    assert [row[:3] for row in rows[2:]] == [["10.0", "s", "b"], ["3.0", "s", "a"]]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 3, 6, 10, 50])
def test_it_fits_the_terminal(width: int, height: int) -> None:
    shown = drawn([job("a" * 30, [1.0] * 60), job("b", [2.0] * 60)], width=width, height=height)
    assert len(shown.splitlines()) <= height
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize(("height", "rows"), [(None, 20), (24, 18), (7, 1), (6, 1), (5, 0)])
def test_it_says_how_many_active_tasks_are_not_listed(height: int | None, rows: int) -> None:
    shown = drawn([job("a", [1.0] * 30, active=33)], height=height).splitlines()
    assert sum("in/" in line for line in shown) == rows
    assert [line for line in shown if "more" in line] == (
        [] if height in (5, 6) else [f"and {33 - rows} active tasks more"]
    )
    assert "more" not in drawn([job("a", [1.0] * 4)], height=height and 9)


def test_a_task_far_beyond_the_median_is_marked() -> None:
    shown = drawn([job("a", [2.5, 3.5])], colour=True)
    marked = [line for line in shown.splitlines() if "\x1b[33m" in line and "in/" in line]
    assert len(marked) == 1
    assert "in/1" in marked[0]


def test_what_is_wrong_is_told_and_cannot_command_the_terminal() -> None:
    shown = drawn([], daemon={"note": "the disk is full\x1b[2J"}, fault="the coordinator went away", rest=3)
    assert "the disk is full\\x1b[2J" in shown
    assert "the coordinator went away" in shown
    assert "no job runs" in shown
    assert "and 3 jobs more" in shown


def test_a_script_gets_it_once_as_text_or_json(run: Mu, served: Served, loop: Loop) -> None:
    name = loop.do(served.service.submit, Request("exec", ("-n", "4"))).job
    other = loop.do(served.service.submit, Request("exec", ("-n", "2"))).job
    loop.do(served.service.end, other)
    where = ("--state-dir", str(served.state))
    found = json.loads(run("top", "--json", *where).out)
    assert [each["job"]["job"] for each in found["jobs"]] == [name]
    assert [task["task"] for task in found["jobs"][0]["active"]["tasks"]] == [0, 1, 2, 3]
    assert "\x1b" not in run("top", *where).out
    assert "40.0 s" in run("top", "--once", *where).out
    over = run("top", other, *where).out
    assert "100 %  2 of 2 done" in over
    assert name not in over


@pytest.mark.parametrize("words", [["--interval", "0"], ["--interval", "nan"], ["--interval", "x"]])
def test_a_wrong_interval_is_refused(run: Mu, words: list[str]) -> None:
    said = run("top", *words)
    assert said.status == 2
    assert "expected seconds from 0.1 to 3600" in said.err


def test_a_job_that_is_not_there_is_named(run: Mu, served: Served) -> None:
    assert "nosuch" in run("top", "nosuch", "--state-dir", str(served.state)).error()


@contextmanager
def on_a_terminal(served: Served) -> Iterator[tuple[Any, int]]:
    """``mu top`` with a terminal of its own."""
    ours, its = os.openpty()
    code = "import sys; from mu_twisted.cli import main; sys.exit(main())"
    before = termios.tcgetattr(its)
    running = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, "top", "--state-dir", str(served.state)],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "90", "LINES": "20"},
    )
    try:
        yield running, ours
        assert termios.tcgetattr(its) == before
    finally:
        running.kill()
        running.wait()
        os.close(its)
        os.close(ours)


def read_until(terminal: int, text: bytes) -> bytes:
    shown = b""
    while text not in shown:
        assert select.select([terminal], [], [], LIMIT)[0], shown
        shown += os.read(terminal, 65536)
    return shown


@pytest.mark.parametrize("way", ["q", "interrupt"])
def test_it_goes_on_until_it_is_ended_and_leaves_the_terminal_as_it_was(served: Served, loop: Loop, way: str) -> None:
    name = loop.do(served.service.submit, Request("exec", ("-n", "4"))).job
    with on_a_terminal(served) as (running, terminal):
        shown = read_until(terminal, b"40.0 s")
        assert b"\x1b[?1049h" in shown  # another screen
        assert name.encode() in shown
        loop.do(served.service.progress, name, 3)
        read_until(terminal, b"3 of 4 done")
        if way == "q":
            os.write(terminal, b"xq")
        else:
            running.send_signal(signal.SIGINT)
        left = read_until(terminal, b"\x1b[?1049l")
        assert b"Traceback" not in left
        assert running.wait(180) == (0 if way == "q" else 130)
