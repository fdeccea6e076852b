"""A program in Python does jobs by a coordinator that it finds or starts, and sees their results as they come."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from command_line import OPERATOR
from control_server import Loop, Served
from warm_processes import LIMIT

import mu_twisted
from mu_twisted import connect
from mu_twisted.base import MuError
from mu_twisted.client import Client, CoordinatorError, UsageError
from mu_twisted.client._own_coordinator import OwnCoordinator
from mu_twisted.pipelines._input_list import unpack


@pytest.fixture
def own(served: Served) -> Client:
    """A client of the control API in memory."""
    return connect(state_dir=served.state)


def test_a_map_is_handed_over_as_its_command_hands_it_over(own: Client, served: Served, tmp_path: Path) -> None:
    job = own.map("echo {}", each=["a b", "c'd"], retries=0, timeout=5, workers=7, function="shell", max_cost=2.5)
    request = served.service.requests[-1]
    assert request.pipeline == "map"
    options = set(request.words[: request.words.index("--")])
    assert {"--retries=0", "--task-timeout=5", "--max-workers=7", "--function=shell", "--max-cost=2.5"} <= options
    assert request.words[-2:] == ("--", "echo {}")
    assert request.inputs is not None
    assert unpack(request.inputs).columns == (["a b", "c'd"],)
    assert job.name == "map-00000001"
    own.map(["date", "-u"], range=range(10, 4, -2), function="shell", name="dates")
    assert "--range=10:6:-2" in served.service.requests[-1].words
    assert served.service.requests[-1].name == "dates"
    (tmp_path / "people").write_text("who,age\nAnn,3\n")
    own.map("echo {who}", each=tmp_path / "people", csv=True, function="shell")
    assert unpack(served.service.requests[-1].inputs or "").names == ("who", "age")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "there are no inputs"),
        ({"each": []}, "each: there are no inputs"),
        ({"each": ["a", 3]}, "each[1]: expected a text, got 3, int"),
        ({"range": range(0)}, "range: there are no numbers"),
        ({"inputs": [], "each": ["a"]}, "inputs: there are no inputs"),
        ({"inputs": "x", "each": ["a"]}, "inputs are given in two ways"),
        ({"each": ["a"], "out": "-"}, "out: '-' prints results in a shell"),
        ({"each": ["a"], "colour": 3}, "mu.map has no option 'colour'"),
        ({"each": ["a"], "retries": -1}, "--retries"),
        ({"each": ["a"], "timeout": -1}, "expected a number of seconds above 0, below 1000000, got '-1'"),
        ({"each": ["a", "b"], "out": "s3://x/one"}, "2 inputs would overwrite one object"),
        ({"each": ["a"], "program": "/bin/true", "function": "f"}, "--program makes the function"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_no_job(own: Client, served: Served, wrong: Any, said: str) -> None:
    with pytest.raises(UsageError) as error:
        own.map("echo {}", **wrong)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not served.service.requests


def test_results_come_page_by_page_until_the_job_is_over(own: Client, served: Served, loop: Loop) -> None:
    job = own.map("echo {}", each=["a", "b", "c"], function="shell")
    loop.do(served.service._set, job.name, tasks=3)
    loop.do(served.service.end, job.name, "failed", "no")
    found = [(result.input, result.status, result.error) for result in job.results()]
    assert found == [("a", "done", None), ("b", "done", None), ("c", "failed", "no")]
    assert job.wait().state == job.status().state == "failed"
    assert own.job(job.name).name == next(one.name for one in own.jobs())
    with pytest.raises(CoordinatorError, match="there is no job 'nosuch'"):
        own.job("nosuch")


def test_a_job_that_is_not_over_in_time_goes_on(own: Client) -> None:
    job = own.map("echo {}", each=["a"], function="shell")
    with pytest.raises(TimeoutError, match=r"is not over after 0.05 s; it goes on"):
        job.wait(0.05)
    assert job.cancel().state == "cancelled"
    with pytest.raises(CoordinatorError, match=r"after which this one was to come, is cancelled"):
        own.run("exec", "-n", "1", "--", "date", after=job)


def test_a_coordinator_elsewhere_is_reached_as_an_operator(served: Served) -> None:
    ca, cert, key = served.files(OPERATOR, "alice")
    with connect(control=f"127.0.0.1:{served.control.port}", ca_cert=ca, cert=cert, key=key) as mu:
        assert mu.run("exec", "-n", "2", "--", "date").status().tasks == 2
    for wrong, said in [
        ({"control": "nowhere"}, r"^control: expected HOST:PORT, got 'nowhere'$"),
        ({"control": "h:1"}, r"^control needs ca_cert too: the CA's certificate \(ca_cert\), .* and key \(key\), as"),
        ({"control": "h:1", "ca_cert": "c", "cert": "s"}, r"^control needs key too: "),
        ({"control": "h:1", "state_dir": "x"}, r"^control and state_dir name two coordinators: give one of them$"),
    ]:
        with pytest.raises(UsageError, match=said):
            connect(**wrong)  # type: ignore[arg-type]


def test_the_user_s_settings_are_defaults(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "mu.toml").write_text(
        f'[defaults]\nretries = 1\nfunction = "shell"\n[profiles.here]\nstate-dir = "{served.state}"\nretries = 4\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "none"))
    mu = connect(profile="here")
    mu.map("echo {}", each=["a"])
    assert {"--retries=4", "--function=shell"} <= set(served.service.requests[-1].words)
    mu.map("echo {}", each=["a"], retries=0)
    assert "--retries=0" in served.service.requests[-1].words
    mu.run("exec", "-n", "1", "--", "date")
    assert "--retries=4" in served.service.requests[-1].words
    with pytest.raises(MuError, match="there is no profile 'nosuch'"):
        connect(profile="nosuch")


def test_neither_the_package_nor_its_client_imports_twisted() -> None:
    code = "import mu_twisted, sys; mu_twisted.connect; print('twisted' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
    with pytest.raises(AttributeError):
        mu_twisted.nosuch  # noqa: B018


# -- with the embedded Lambda and S3 ---------------------------------------------------------------------------------

pytestmark = pytest.mark.process


def test_objects_are_mapped_to_objects_and_what_was_printed_is_at_hand(mu: Client, s3: Any) -> None:
    for name in ("a;rm -rf x", "-b", "c d"):
        s3.put_object(Bucket="mine", Key=f"logs/{name}.txt", Body=name.encode())
    job = mu.map("cat {in} {in} > {out}; echo got {/}", "s3://mine/logs/*.txt", out="s3://mine/twice/{/}")
    results = {result.input: result for result in job.results()}
    assert set(results) == {f"logs/{name}.txt" for name in ("a;rm -rf x", "-b", "c d")}
    for result in results.values():
        name = Path(result.input).name
        assert (result.status, result.attempts, result.key) == ("done", 1, f"s3://mine/twice/{name}")
        assert result.output == f"got {name}\n".encode()
        stored = s3.get_object(Bucket="mine", Key=f"twice/{name}")["Body"].read()
        assert stored == name.removesuffix(".txt").encode() * 2
    with pytest.raises(MuError, match=r"nothing matches s3://mine/none/\*"):
        mu.map("true", "s3://mine/none/*")


def test_an_input_that_vanishes_fails_by_its_name_and_is_retried(mu: Client, s3: Any) -> None:
    for name in "ab":
        s3.put_object(Bucket="mine", Key=f"van/{name}", Body=name.encode())
    with socket.create_server(("127.0.0.1", 0)) as held:
        wait = f"import socket; socket.create_connection(('127.0.0.1', {held.getsockname()[1]})).recv(1)"
        # It ends once the socket is closed, whether it has dialled by then or not.
        command = f'cat {{in}}; [ {{/}} = b ] || python3 -c "{wait}"; true'
        job = mu.map(command, ["s3://mine/van/a", "s3://mine/van/b"], workers=1, retries=0)
        s3.delete_object(Bucket="mine", Key="van/b")
    good, lost = job.results()
    assert (good.input, good.status, good.error) == ("van/a", "done", None)
    assert (lost.input, lost.status, lost.output) == ("van/b", "failed", b"")
    assert lost.error is not None
    assert "van/b" in lost.error
    s3.put_object(Bucket="mine", Key="van/b", Body=b"back")
    assert job.retry().state == "running"
    assert job.wait(LIMIT).state == "done"
    assert [(result.input, result.status) for result in job.results()][-1] == ("van/b", "done")
    assert job.output("van/b") == job.output(1) == b"back"
    with pytest.raises(CoordinatorError, match="has no failed tasks"):
        job.retry()


def test_to_cancel_a_job_kills_what_runs(mu: Client) -> None:
    seconds = f"98765.{os.getpid()}"  # others run these tests too
    job = mu.map(f"exec sleep {seconds}", each=["a"])
    until = time.monotonic() + LIMIT
    while not _runs(seconds):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert job.cancel().state == "cancelled"
    while _runs(seconds):
        assert time.monotonic() < until
        time.sleep(0.02)


def _runs(word: str) -> bool:
    """Whether a process of ``sleep`` with this word runs."""
    wanted = b"sleep\0" + word.encode() + b"\0"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes() == wanted:
                return True
    return False


def test_a_pipeline_is_run_with_the_words_of_its_command(mu: Client, tmp_path: Path) -> None:
    job = mu.run("exec", "-n", "3", "--", "echo task {n}", program="/bin/true")
    assert sorted(result.output for result in job.results()) == [b"task 0\n", b"task 1\n", b"task 2\n"]
    with pytest.raises(UsageError):
        mu.run("exec", "--nosuch", "--", "date")
    with pytest.raises(UsageError, match="mu.run has no option 'colour': those of a pipeline are words"):
        mu.run("exec", "-n", "1", "--", "date", colour=3)
    with pytest.raises(UsageError, match="cannot read the pipeline module"):
        mu.run(str(tmp_path / "none.py"))


def test_a_coordinator_of_its_own_ends_with_the_program_and_leaves_records(home: Path, tmp_path: Path, s3: Any) -> None:
    """Also one whose program was killed: its job runs to its end first."""
    code = (
        "import os, signal, sys; from mu_twisted import connect\n"
        "mu = connect(local=True, state_dir=sys.argv[1], local_state_dir=sys.argv[2])\n"
        "job = mu.map('sleep 1; echo {}', each=['a', 'b'])\n"
        "print(job.name, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path), str(home / "state" / "mu" / "local")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    name = done.stdout.strip()
    mine = connect(state_dir=tmp_path, local=True)
    job = mine.job(name)
    assert job.wait(LIMIT).state == "done"
    assert sorted(result.output for result in job.results()) == [b"a\n", b"b\n"]
    until = time.monotonic() + LIMIT
    while not mine.coordinator.is_on_record:  # its coordinator has no program and no job any more
        assert time.monotonic() < until
        time.sleep(0.05)
    assert mine.job(name).status().done == 2
    assert len(list(mine.job(name).results())) == 2
    log = (tmp_path / "coordinator.log").read_text()
    assert not re.search("Traceback|AKIA", log), log


def test_threads_of_a_program_start_one_coordinator_and_its_log_is_kept(home: Path, tmp_path: Path) -> None:
    (tmp_path / "coordinator.log").write_text("of the one before\n")
    together = threading.Barrier(4)
    with connect(local=True, state_dir=tmp_path, local_state_dir=home / "state" / "mu" / "local") as mu:

        def begin(_: int) -> None:
            together.wait()
            mu._backend()

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(begin, range(4)))
        assert mu.jobs() == []
    lines = (tmp_path / "coordinator.log").read_text().splitlines()
    assert lines[0] == "of the one before"
    assert not [line for line in lines if line.startswith("error: ")]


def test_why_a_coordinator_does_not_start_is_of_this_start(tmp_path: Path) -> None:
    (tmp_path / "coordinator.log").write_text("error: of the one before\n")
    with pytest.raises(CoordinatorError, match="nosuch-option"):
        OwnCoordinator(tmp_path, ["--nosuch-option"], lambda: False)
