"""``mu run``: what it takes, whom it hands a job to, and the records that it leaves."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import warm_processes
from encoder_jobs import environment
from warm_processes import LIMIT, MU, Process

from mu_twisted.daemons.run import LOCAL_PORT, Options, ignored, mismatch

AWS = {"pid": 7, "local": None}
HERE = {"pid": 7, "local": "/x/local"}


def parsed(*words: str) -> Any:
    options: Any = Options()  # type: ignore[no-untyped-call]
    options.parseOptions(list(words))
    return options


@pytest.mark.parametrize(
    ("words", "daemon", "said"),
    [
        ((), AWS, None),
        (("--local",), HERE, None),
        (("--local",), {"pid": 7}, None),
        (("--local",), AWS, "drives AWS, and not the local stack"),
        ((), HERE, "drives the local stack in /x/local, and not AWS: give --local"),
    ],
)
def test_a_job_goes_to_no_coordinator_that_drives_another_lambda(
    words: tuple[str, ...], daemon: dict[str, Any], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MU_LOCAL", raising=False)
    why = mismatch(parsed(*words, "exec", "true"), daemon)
    assert why is None if said is None else said in str(why)


def test_options_that_a_coordinator_has_of_its_own_are_named() -> None:
    assert ignored(parsed("--local", "--state-dir", "/s", "--keep", "3", "exec", "true")) == ()
    assert ignored(parsed("-t", "99", "exec", "--launch-rate", "5", "true")) == ("--port=99", "--launch-rate=5.0")


def test_workers_on_this_machine_dial_any_port_of_loopback() -> None:
    assert parsed("--local", "exec", "true")["port"] == LOCAL_PORT
    assert parsed("--local", "-t", "99", "exec", "true")["port"] == "99"
    assert parsed("exec", "true")["port"] == "13579"


@pytest.mark.parametrize("words", [("--json", "--tee", "exec", "true"), ("exec", "--json", "--tee", "true")])
def test_its_own_options_stand_before_and_behind_the_pipeline(words: tuple[str, ...]) -> None:
    options = parsed(*words)
    assert options.as_json is True
    assert (options.request.words, options.request.tee) == (("--", "true"), True)
    assert not parsed("exec", "true").request.tee


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected a pipeline"),
        (("--memory", "512", "exec", "true"), "--memory says how the function of --program is made"),
        (("exec", "--program", "x", "-l", "f", "true"), "-l names another (f)"),
        (("exec", "--program", "x", "--memory", "12", "true"), "--memory: expected a whole number from 128"),
    ],
)
def test_what_makes_no_sense_together_is_status_2(
    words: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*words)
    assert ended.value.code == 2
    assert said in capfd.readouterr().err


def test_a_function_of_a_program_stands_before_what_was_typed() -> None:
    options: Any = type("Options", (Options,), {"function": "mu-0"})()
    options.parseOptions(["--program", "/bin/true", "exec", "-n", "2", "--", "true", "-l"])
    assert options.request.words == ("--function=mu-0", "--tasks=2", "--", "true", "-l")
    assert options.settings["function"] == "mu-0"


Said = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path, local: Any) -> Path:
    """A state directory whose local stack is the tests'."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "local").symlink_to(local.state_dir / "local")
    return tmp_path / "state"


def words_of(home: Path, command: str, *words: str) -> list[str]:
    return [*MU, command, "--state-dir", str(home), *words]


@pytest.fixture
def mu(tmp_path: Path, home: Path) -> Said:
    """Run a command of mu on this state directory, to its end."""

    def run(command: str, *words: str) -> "subprocess.CompletedProcess[str]":
        return warm_processes.run(
            *words_of(home, command, *words), env=environment(tmp_path, {}), cwd=tmp_path, timeout=180
        )

    return run


def job_words(*words: str) -> list[str]:
    return ["--local", "exec", "-b", "work", "-l", "worker", *words]


@pytest.mark.process
def test_the_record_of_a_job_is_there_when_its_command_has_ended(mu: Said, local: Any) -> None:
    s3 = local.control.clients.s3
    s3.put_object(Bucket="work", Key="given/0", Body=b"x")
    done = mu("run", "--json", *job_words("-n", "2", "--retries", "0", "--in", "given/{n}", "--", "cat {in}"))
    assert done.returncode == 1, done.stderr
    job = json.loads(done.stdout)
    assert (job["state"], job["done"], job["failed"]) == ("failed", 1, 1)
    listed = json.loads(mu("jobs", "--json").stdout)["jobs"]
    assert listed == [job]
    status = mu("status", job["job"])
    assert "2: 1 done, 1 failed" in status.stdout
    assert "task 1 failed after 1 attempt" in status.stdout
    assert "finished" in mu("logs", job["job"]).stdout
    assert mu("wait", job["job"]).returncode == 1
    assert mu("status").returncode == 1  # no coordinator runs
    s3.put_object(Bucket="work", Key="given/1", Body=b"x")
    again = mu("retry", job["job"])
    assert again.returncode == 0, again.stderr
    assert "2 of 2 tasks done" in again.stdout
    assert "has no failed tasks" in mu("retry", job["job"]).stderr
    assert mu("rm", job["job"]).stdout == f"{job['job']}: removed\n"
    assert json.loads(mu("jobs", "--json").stdout) == {"jobs": []}


@pytest.mark.process
def test_a_second_run_hands_over_and_an_interrupt_leaves_a_record(mu: Said, home: Path, tmp_path: Path) -> None:
    command = "[ {n} = 0 ] || sleep 3600"
    first = Process(
        *words_of(home, "run", *job_words("-n", "3", "--max-workers", "1", "--", command)),
        env=environment(tmp_path, {}),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + LIMIT
        while not any(job["done"] for job in json.loads(mu("jobs", "--json").stdout or '{"jobs": []}')["jobs"]):
            assert time.monotonic() < until
        second = mu("run", *job_words("--", "true"))
        assert second.returncode == 0, second.stderr
        assert "1 of 1 tasks done" in second.stdout
        assert "drives the local stack" in mu("run", "exec", "--", "true").stderr
        os.kill(first.pid, signal.SIGINT)
        _, err = first.communicate(timeout=LIMIT)
    finally:
        first.kill()
    assert "error: interrupted; its record is kept: `mu retry" in err
    assert "no worker came" not in err
    assert "Traceback" not in err
    jobs = {job["state"]: job for job in json.loads(mu("jobs", "--json").stdout)["jobs"]}
    assert set(jobs) == {"interrupted", "done"}
    shown = mu("status", jobs["interrupted"]["job"]).stdout
    assert "3: 1 done, 2 not done" in shown
    assert "failed" not in shown


@pytest.mark.process
def test_jobs_that_begin_in_the_same_moment_all_run(home: Path, tmp_path: Path) -> None:
    started = [
        Process(
            *words_of(home, "run", *job_words("-n", "2", "--", f"sleep 0.{number}")),
            env=environment(tmp_path, {}),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    try:
        ended = [(*each.communicate(timeout=LIMIT), each.returncode) for each in started]
    finally:
        for each in started:
            each.kill()
    for out, err, status in ended:
        assert status == 0, err
        assert "2 of 2 tasks done" in out
        assert "error" not in err
