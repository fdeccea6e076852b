"""Whatever a pipeline's code does, it is interrupted or the process ends, and the job and the place are named."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from blocking_code import CASES, DEADLY, STUBBORN

from mu_twisted.pipelines import LastEnd, last_end

CALLS = Path(__file__).parents[1] / "support" / "guarded_calls.py"
YIELDING = [name for name in CASES if name not in STUBBORN and name not in DEADLY]
LIMIT = 180
"""Seconds after which a call that should have been interrupted is taken for missed."""


def run(directory: Path, soft: float, hard: float, *cases: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, str(CALLS), str(directory), str(soft), str(hard), *cases]
    return subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What came of those that yield, all in one process one after the other."""
    directory = tmp_path_factory.mktemp("guard")
    done = run(directory, 0.05, 50, *YIELDING)
    assert done.returncode == 0, done.stderr
    assert last_end(directory) is None
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("case", YIELDING)
def test_what_blocks_is_interrupted_and_its_place_told(said: dict[str, str], case: str) -> None:
    place = CASES[case][2]
    if not place and case != "interrupt":  # nothing of the job was under way, or it goes on without what was asked for
        assert said[case] == ""
    elif case == "interrupt":
        assert "KeyboardInterrupt" in said[case]
    else:
        assert f"blocked 0.05 s at mine.py {place}: a pipeline must not block, its worker's commands may" in said[case]


@pytest.mark.parametrize("case", STUBBORN)
def test_what_does_not_yield_ends_the_process_with_one_line_and_is_known_after(tmp_path: Path, case: str) -> None:
    kind, _, place = STUBBORN[case]
    done = run(tmp_path, 0.05, 0.5, case)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    whose = "job job-1, task 3: its code" if kind == "start" else "a pipeline's code"
    found = re.fullmatch(
        rf"error: {whose} did not yield for 0\.5 s at mine\.py ({place}), so the process ends: "
        r"a pipeline must not block, its worker's commands may",
        line,
    )
    assert found, line
    how = f"it blocked and did not yield at mine.py {found[1]}"
    job, task = ("job-1", 3) if kind == "start" else ("", None)
    assert last_end(tmp_path) == LastEnd(job, task, how, certain=True)


@pytest.mark.parametrize("case", DEADLY)
def test_what_ends_the_process_by_itself_is_known_after(tmp_path: Path, case: str) -> None:
    done = run(tmp_path, 5, 50, case)
    assert done.returncode in (9, -6, -11)
    end = last_end(tmp_path)
    assert end is not None
    assert (end.job, end.task) == ("job-1", 3)
    if case == "exit":
        assert not end.certain
    else:
        assert end.certain
        assert f"at mine.py {DEADLY[case][2]}" in end.how


def test_nothing_is_known_where_nothing_was_under_way(tmp_path: Path) -> None:
    assert last_end(tmp_path) is None
    (tmp_path / "user-code.page").write_bytes(b"short")
    (tmp_path / "user-code.trace").write_bytes(b"")
    assert last_end(tmp_path) is None
    (tmp_path / "user-code.page").write_bytes(os.urandom(4096))
    assert last_end(tmp_path) is None


QUIET = """
import signal, sys, time
from pathlib import Path
from mu_twisted.pipelines import guard

guard.watch(Path(sys.argv[1]), 0.05, 30)
guard.call(b"job-1", 3, lambda: signal.raise_signal(signal.SIGURG))
guard.call(b"job-1", 3, time.sleep, 0.5)
guard.stop()
"""


def test_neither_a_strange_signal_nor_one_that_meets_the_guard_ends_a_call(tmp_path: Path) -> None:
    # The first call is of no length; in the second the frame that the signal meets is the guard's own.
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path)], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert last_end(tmp_path) is None


AGAIN = '''
import signal, sys
from pathlib import Path
from mu_twisted.fsm import Interrupted, user_place
from mu_twisted.pipelines import guard

source = "def spin():\\n    import time\\n    while True:\\n        time.sleep(0.001)\\n"
author = {}
exec(compile(source, "mine.py", "exec"), author)
again = [signal.SIGURG]

# The handler of the first signal is about to find the place: another one comes. It is no code of the author's.
profile = """
def profile(frame, event, arg):
    if event == "call" and frame.f_code is place and again:
        signal.raise_signal(again.pop())
"""
ours = {"again": again, "place": user_place.__code__, "signal": signal}
exec(compile(profile, "<frozen profile>", "exec"), ours)

guard.watch(Path(sys.argv[1]), 0.05, 30)
sys.setprofile(ours['profile'])
try:
    guard.call(b"job-1", 3, author["spin"])
except Interrupted as error:
    print(error)
finally:
    sys.setprofile(None)
    guard.stop()
assert not again
'''


def test_a_second_signal_while_the_first_is_handled_names_the_same_place(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, str(tmp_path)], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert re.match(r"blocked 0.05 s at mine.py line [34], in spin: ", done.stdout), done.stdout + done.stderr


BUSY = """
import os, subprocess, sys, time
from pathlib import Path
from mu_twisted.pipelines import guard

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
spin = "import time; end = time.monotonic() + 60\\nwhile time.monotonic() < end: pass"
others = [subprocess.Popen([sys.executable, "-S", "-c", spin]) for _ in range(8)]
author = {}
source = "import time\\ndef work(span):\\n    while time.thread_time() < span: pass\\n"
exec(compile(source, "mine.py", "exec"), author)
try:
    guard.watch(Path(sys.argv[1]), 0.2, 30)
    guard.call(b"job-1", 3, author["work"], time.thread_time() + 0.1)
    guard.stop()
finally:
    for other in others:
        other.kill()
        other.wait()
"""


def test_code_that_waits_for_a_processor_does_not_block(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUSY, str(tmp_path)], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
