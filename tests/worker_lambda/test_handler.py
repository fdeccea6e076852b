"""The handler: results, errors, the same process used again, any thread."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from free_ports import refusing_port

from mu_twisted.wire import parse_greeting
from worker_lambda._event import parse_event
from worker_lambda._expansion import WorkerPaths
from worker_lambda._lambda_context import InitTime, LambdaContext, Timing, process_age_ms
from worker_lambda._mode0 import run_once
from worker_lambda.lambda_function import lambda_handler


class Context:
    """Lambda's, as far as the worker looks at it."""

    memory_limit_in_mb = "1769"

    def __init__(self, remaining: int) -> None:
        self._remaining = remaining

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The function's files."""
    made = tmp_path / "task"
    made.mkdir()
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(made))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return made


def test_mode_0_ends_though_a_program_is_left_in_the_background(root: Path) -> None:
    (root / "mu_command").write_bytes(b"sleep 600 & echo started")
    place = WorkerPaths(root, root / "mu_command", root.parent)
    result = run_once(parse_event({"mode": 0}), place, LambdaContext(), Timing(background=0.0))
    assert (result["retval"], result["output"]) == (0, "started\n")
    assert "holds its output" in str(result["remark"])


def test_mode_0_runs_the_command_once(root: Path) -> None:
    (root / "mu_command").write_bytes(b"pwd; echo ##QUALITY## >&2; exit 3")
    result = lambda_handler({"mode": 0, "quality": 5})
    assert result == {"retval": 3, "output": f"{root}\n5\n", "command": "pwd; echo 5 >&2; exit 3"}
    assert not [path for path in root.parent.iterdir() if path.name.startswith("mu_worker_")]


def test_mode_0_ends_its_program_before_the_functions_time_is_up(root: Path) -> None:
    (root / "mu_command").write_bytes(b"sleep 600")
    assert lambda_handler({"mode": 0}, Context(600)) == {"error": "the function's time is up"}


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (None, "the event is not a JSON object"),
        ({"mode": 1, "addr": "127.0.0.1"}, "the event's port is None, expected 1 to 65535"),
        (
            {"addr": "192.0.2.1", "port": 1},
            "the event has no cacert: without TLS only loopback can be dialled, not 192.0.2.1:1",
        ),
        (
            {"addr": "127.0.0.1", "port": 1, "cacert": "-----BEGIN"},
            "the event's cacert is not base64: expected the body of a PEM block, no BEGIN line",
        ),
        ({"mode": 0}, "the function was made without a command: mu_command: No such file or directory"),
    ],
)
def test_a_bad_event_is_answered_with_a_short_error(
    root: Path, capfd: pytest.CaptureFixture[str], event: Any, error: str
) -> None:
    assert lambda_handler(event) == {"error": error}
    assert f"error: {error}\n" in capfd.readouterr().err


def test_a_coordinator_that_is_not_there_is_told_in_the_log_too(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with refusing_port() as port:
        result = lambda_handler({"addr": "127.0.0.1", "port": port})
    error = f"could not reach 127.0.0.1:{port}: Connection refused"
    assert result == {"error": error}
    assert f"error: {error}\n" in capfd.readouterr().err


def open_files() -> Counter[str]:
    """What the descriptors of this process are: a socket has a name that no other one has."""
    found: Counter[str] = Counter()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found[str(path.readlink())] += 1
    return found


def test_the_same_process_serves_again_in_any_thread_and_leaks_nothing(
    root: Path, coordinator: Any, event: Callable[..., dict[str, Any]]
) -> None:
    def serve(into: list[dict[str, object]]) -> None:
        into.append(lambda_handler(event(coordinator, job="j"), Context(60_000)))

    opened, threads = [], set(threading.enumerate())
    for number in range(3):
        results: list[dict[str, object]] = []
        thread = threading.Thread(target=serve, args=(results,))
        thread.start()
        talk = coordinator.accept()
        assert b'"memory_mb":1769' in talk.hear()
        assert talk.ask(b"get:mine").startswith(b"FAIL(")
        assert talk.ask(b"set:mine:%d" % number) == b"OK:SET(mine)"
        assert talk.ask(b"run:echo x").startswith(b"OK:RETVAL(0):OUTPUT(x\n)")
        assert talk.ask(b"retrieve:k\0/nosuch/f").startswith(b"FAIL(")
        talk.say(b"quit:")
        thread.join(180)
        assert results == [{"ended": "the coordinator said quit"}]
        talk.close()
        opened.append(open_files())
    assert opened[2] <= opened[1]  # others in this process may close some meanwhile
    assert set(threading.enumerate()) <= threads
    assert list(root.iterdir()) == []


def test_a_worker_ends_before_its_functions_deadline(root: Path, coordinator: Any, event: Callable) -> None:
    results: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: results.append(lambda_handler(event(coordinator), Context(700))))
    thread.start()
    talk = coordinator.accept()
    talk.say(b"run:sleep 600")
    thread.join(180)
    assert results == [{"error": "the function's time is up"}]


def test_a_coordinator_that_takes_no_replies_keeps_no_worker_beyond_its_deadline(
    root: Path, coordinator: Any, event: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Timing, "flush", 3600.0)  # where there is time
    results: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: results.append(lambda_handler(event(coordinator), Context(1500))))
    thread.start()
    talk = coordinator.accept()
    with suppress(OSError):  # the deadline is over already
        talk.say(b"set:k:" + b"x" * 1_000_000, *[b"get:k"] * 30)
    thread.join(180)
    assert results == [{"error": "the function's time is up"}]


def test_a_fault_of_ours_is_a_result_and_in_the_log_in_full(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(Context):
        def get_remaining_time_in_millis(self) -> int:
            raise KeyError("broken\ncontext")

    result = lambda_handler({"addr": "127.0.0.1", "port": 1}, Broken(0))
    assert result == {"error": "fault of the worker: KeyError: 'broken\\ncontext'"}
    assert "Traceback (most recent call last)" in capfd.readouterr().err
    assert not list(root.parent.glob("mu_worker_*"))


def stat(started: float, name: str = "python3.13") -> str:
    ticks = round(started * os.sysconf("SC_CLK_TCK"))
    return f"4242 ({name}) S {' '.join('0' for _ in range(18))} {ticks} 0 0\n"


@pytest.mark.parametrize("name", ["python3.13", "a) b (c) 1 2 3", ") S 1"])
def test_what_a_process_ran_before_it_was_ready_is_told_once(tmp_path: Path, name: str) -> None:
    process = tmp_path / "stat"
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    process.write_text(stat(before - 2.5, name))
    init = InitTime({"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}, process)
    passed = time.clock_gettime(time.CLOCK_BOOTTIME) - before
    process.unlink()
    assert 2490 <= init.take() <= 2510 + 1000 * passed
    assert init.take() == 0


@pytest.mark.parametrize("kind", [None, "provisioned-concurrency", "snap-start", "lambda-managed-instances"])
def test_a_start_that_is_not_on_demand_is_not_told(kind: str | None) -> None:
    assert InitTime({"AWS_LAMBDA_INITIALIZATION_TYPE": kind} if kind else {}).take() == 0


@pytest.mark.parametrize("content", ["", "1 (x", "1 (x) S", "1 (x) S " + "x " * 40, stat(1e12)])
def test_a_start_that_the_system_does_not_tell_is_none(tmp_path: Path, content: str) -> None:
    process = tmp_path / "stat"
    process.write_text(content)
    assert process_age_ms(process) == 0
    assert process_age_ms(tmp_path / "nosuch") == 0
    assert process_age_ms() > 0


def test_a_worker_greets_with_it(here: Callable[..., Any], coordinator: Any, event: Callable[..., Any]) -> None:
    worker = here(event(coordinator, job="j"), init_ms=1234)
    talk = coordinator.accept()
    assert parse_greeting(talk.hear()).init_ms == 1234
    talk.say(b"quit:")
    assert worker.result() == {"ended": "the coordinator said quit"}
