"""A daemon's start, in the foreground and as a daemon: what keeps it from starting is one line, and a status."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import warm_processes
from encoder_jobs import TWISTD, environment
from warm_processes import LIMIT

from mu_twisted.local import find

pytestmark = pytest.mark.process

COMMAND = [sys.executable, *TWISTD[3:-2]]
"""twistd as users have it: without ``-n --pidfile=``, and silent where Twisted itself leaves a file open."""
TAKEN = [
    ["mu-coordinator", "--state-dir", "state", "-t", "{port}"],
    ["mu-rendezvous", "--state-dir", "state", "-t", "{port}"],
    ["mu-rendezvous", "--shards", "2", "--state-dir", "state", "-t", "{port}"],
    ["mu-local", "--state-dir", "state", "--lambda-port", "{port}"],
    ["mu-local", "--state-dir", "state", "--s3-port", "{port}"],
]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def gone(path: Path) -> bool:
    """Whether the file is gone, at the latest after a while."""
    until = time.monotonic() + LIMIT
    while path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return not path.exists()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run twistd as users have it, in a process that has imported all that it needs."""

    def run(*words: str, said: dict[str, str] | None = None, **more: Any) -> "subprocess.CompletedProcess[str]":
        env = environment(tmp_path, said or {})
        return warm_processes.run(warm_processes.TWISTD[0], *words, env=env, cwd=tmp_path, timeout=LIMIT, **more)

    return run


@pytest.fixture
def run_from_nothing(tmp_path: Path) -> Run:
    """Run twistd as users have it."""

    def run(*words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        return subprocess.run(
            [*COMMAND, *words],
            env=environment(tmp_path, {}),
            cwd=tmp_path,
            text=True,
            timeout=LIMIT,
            check=False,
            **pipes,
        )

    return run


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that is in use, by this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        *((["--logfile=log"], words) for words in TAKEN[:4]),
        pytest.param(["--logfile=log"], TAKEN[4], marks=pytest.mark.long),
        pytest.param(["-n", "--logfile=log"], TAKEN[0], marks=pytest.mark.long),
        (["-n"], TAKEN[1]),
    ],
    ids=lambda words: " ".join([words[0], *words[-2:]]),
)
def test_a_start_that_fails_is_one_line_and_status_1_and_leaves_no_pid_file(
    run_from_nothing: Run, tmp_path: Path, taken: int, how: list[str], words: list[str]
) -> None:
    done = run_from_nothing(*how, "--pidfile=pid", *(word.format(port=taken) for word in words))
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: cannot listen on ")
    assert str(taken) in line
    assert "Errno" not in line
    assert gone(tmp_path / "pid"), "the daemon removes it as it ends, which is after its parent has told why"
    if "--logfile=log" in how:
        log = (tmp_path / "log").read_text()
        assert line.removeprefix("error: ") in log
        assert "Traceback" not in log


@pytest.mark.parametrize(
    ("daemon", "words", "said"),
    [
        ("mu-coordinator", ["--state-dir", "/proc/none"], "/proc/none"),
        ("mu-rendezvous", ["--state-dir", "/proc/none"], "/proc/none"),
        ("mu-local", ["--state-dir", "/proc/none"], "/proc/none"),
        ("mu-coordinator", ["-t", "0", "-c", "none.pem"], "none.pem does not exist"),
        ("mu-rendezvous", ["-t", "0", "-c", "none.pem"], "none.pem does not exist"),
        ("mu-coordinator", ["-t", "0", "-P", "/proc/none/profile"], "-P /proc/none/profile"),
    ],
)
def test_whatever_fails_at_the_start_of_a_daemon_is_told_on_the_terminal(
    run: Run, tmp_path: Path, daemon: str, words: list[str], said: str
) -> None:
    done = run(daemon, *words)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert gone(tmp_path / "twistd.pid")
    assert [path.name for path in tmp_path.glob("twistd*")] == ["twistd.log"]
    assert said in (tmp_path / "twistd.log").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["mu-coordinator", "-t", "tcp:0:interface=127.0.0.1"],
        ["mu-rendezvous", "-t", "tcp:0:interface=127.0.0.1"],
        ["mu-coordinator", "exec", "-n", "1", "-b", "b", "-l", "f", "true"],
    ],
    ids=" ".join,
)
def test_what_is_wrong_in_itself_is_wrong_usage_also_where_it_shows_at_the_start(
    run: Run, tmp_path: Path, words: list[str]
) -> None:
    done = run("-n", "--pidfile=pid", *words, said={"MU_TRANSPORT": "quic"})
    assert (done.returncode, done.stderr) == (2, "error: MU_TRANSPORT=quic: expected core or twisted\n")
    assert gone(tmp_path / "pid")


def test_a_second_daemon_on_one_state_directory_names_the_first_and_leaves_it_alone(run: Run, tmp_path: Path) -> None:
    words = ["mu-rendezvous", "-t", "tcp:0:interface=127.0.0.1", "--state-dir", "state"]
    first = run("--pidfile=first", "--logfile=first.log", *words)
    pid = int((tmp_path / "first").read_text())
    try:
        assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
        second = run("--pidfile=second", "--logfile=second.log", *words)
        assert second.returncode == 1
        assert f"in use by process {pid}" in second.stderr
        assert gone(tmp_path / "second")
        os.kill(pid, 0)
    finally:
        os.kill(pid, signal.SIGTERM)


def test_a_long_line_is_told_whole(run: Run) -> None:
    path = "/proc/" + "long/" * 100
    assert f"cannot use the state directory {path[:-1]}: " in run("mu-coordinator", "--state-dir", path).stderr


@pytest.mark.parametrize("pipeline", ["exec", "png2y4m", "./mine.py"])
def test_a_job_on_the_command_line_of_a_daemon_is_refused(run: Run, tmp_path: Path, pipeline: str) -> None:
    (tmp_path / "mine.py").write_text(
        "from mu_twisted.fsm import TerminalState\nfrom mu_twisted.pipelines import Pipeline\n"
        "pipeline = Pipeline(name='m', summary='', first=TerminalState)\n"
    )
    done = run("mu-coordinator", pipeline, *(["--", "true"] if pipeline == "exec" else []))
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"twistd -n --pidfile= mu-coordinator {pipeline}" in line
    assert "mu submit" in line
    assert not list(tmp_path.glob("twistd*"))


def test_a_log_that_cannot_be_written_is_one_line(run: Run) -> None:
    done = run("--logfile=/proc/none/log", "mu-coordinator")
    assert done.returncode == 1
    assert (
        done.stderr
        == "error: cannot write the log /proc/none/log: No such file or directory; give another with --logfile\n"
    )


def test_a_log_to_the_standard_output_of_a_daemon_is_refused(run: Run) -> None:
    done = run("--logfile=-", "mu-rendezvous")
    assert done.returncode == 2
    assert "--logfile=-" in done.stderr


@pytest.mark.parametrize(("more", "debugs"), [([], False), (["-D"], True)])
def test_a_log_file_has_debug_lines_if_they_were_asked_for(
    run: Run, tmp_path: Path, more: list[str], debugs: bool, taken: int
) -> None:
    # To shards the supervisor has nothing to say at level debug, and so have the others at a start that fails: a
    # pipeline of the user's has.
    (tmp_path / "mine.py").write_text(
        "from twisted.logger import Logger\nfrom mu_twisted.fsm import TerminalState\n"
        "from mu_twisted.pipelines import Pipeline\nLogger().debug('spelt out')\nLogger().info('in short')\n"
        "pipeline = Pipeline(name='m', summary='', first=TerminalState)\n"
    )
    run("-n", "--pidfile=", "--logfile=log", "mu-coordinator", "-t", str(taken), *more, "./mine.py")
    log = (tmp_path / "log").read_text()
    assert "in short" in log
    assert ("spelt out" in log) is debugs


def test_a_port_that_a_coordinator_has_is_told_with_the_way_to_it(
    run_from_nothing: Run, coordinate: Any, tmp_path: Path
) -> None:
    words = ("mu-coordinator", "-t", "tcp:0:interface=127.0.0.1", "--state-dir", "first")
    assert run_from_nothing("--pidfile=pid", *words).returncode == 0  # whose name is read from its command line
    pid = int((tmp_path / "pid").read_text())
    try:
        port = (tmp_path / "first" / "port").read_text().strip()
        error = coordinate("-t", f"tcp:{port}:interface=127.0.0.1", "--state-dir", "second").complained()
        assert f": process {pid} (mu-coordinator) has it, which takes jobs by `mu submit`; choose another" in error
    finally:
        os.kill(pid, signal.SIGTERM)
    assert gone(tmp_path / "pid")


CLOSED = object()
"""For a pipe that nothing reads."""


def sink(what: Any) -> int:
    if what is not CLOSED:
        return os.open(what, os.O_WRONLY)
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(
    ("command", "status", "stream", "what"),
    [
        ("true", 0, "stdout", "/dev/full"),
        ("true", 0, "stderr", CLOSED),
        ("test {n} = 0", 1, "stdout", CLOSED),
        ("test {n} = 0", 1, "stderr", "/dev/full"),
    ],
)
def test_a_job_ends_with_its_status_whatever_takes_what_it_prints(
    run: Run, local: Any, command: str, status: int, stream: str, what: Any
) -> None:
    descriptor = sink(what)
    try:
        words = local.words("exec", "-n", "2", "--retries", "0")
        done = run("-n", "--pidfile=", "mu-coordinator", *words, "--", command, **{stream: descriptor})
    finally:
        os.close(descriptor)
    assert done.returncode == status
    assert "Traceback" not in (done.stdout or "") + (done.stderr or "")
    if stream == "stderr":
        assert f"{2 - status} of 2 tasks done" in done.stdout


@pytest.mark.parametrize(
    "redirections", ["1>&- 2>&-", *(pytest.param(one, marks=pytest.mark.long) for one in ("1>&-", "2>&-"))]
)
def test_a_job_ends_with_its_status_where_it_has_no_output_at_all(
    run: Run, local: Any, tmp_path: Path, redirections: str
) -> None:
    words = [*COMMAND, "-n", "--pidfile=", "mu-coordinator", *local.words("exec", "-b", "nosuch"), "-b", "nosuch"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *words, "--", "true"],
        env=environment(tmp_path, {}),
        cwd=tmp_path,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 1


def test_a_local_stack_that_cannot_go_on_ends_though_its_output_takes_nothing(run: Run, tmp_path: Path) -> None:
    full = sink("/dev/full")
    process = subprocess.Popen(
        [*TWISTD, "mu-local", "--state-dir", str(tmp_path / "state"), "--s3=moto"],
        env=environment(tmp_path, {}),
        stdout=full,
        stderr=full,
    )
    try:
        _kill_its_moto(process, tmp_path / "state")
        assert process.wait(LIMIT) == 1
    finally:
        process.kill()
        process.wait()
        os.close(full)


def _kill_its_moto(process: "subprocess.Popen[bytes]", state: Path) -> None:
    deadline = time.monotonic() + LIMIT
    while find(state) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if b"moto" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
