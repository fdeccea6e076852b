"""``mu doctor`` as a user runs it: against moto's server, and against the embedded stack, where a worker dials back."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto_account import Account
from rendezvous_daemons import Daemon
from warm_processes import MU, TWISTD, Process, run

from mu_twisted.aws import build_package, collect_programs
from mu_twisted.cli.demo.fixtures import control_of
from mu_twisted.local import Stack, start


def doctor(environment: dict[str, str], home: Path, *words: str) -> tuple[int, dict[str, list[str]], str]:
    """Status; what was found ok, doubtful, BROKEN; and all of it."""
    done = run(*MU, "doctor", *words, env=environment, cwd=home)
    assert "Traceback" not in done.stderr
    found: dict[str, list[str]] = {"ok": [], "doubtful": [], "BROKEN": []}
    for line in done.stdout.splitlines():
        if line.partition(" ")[0] in found:
            kind, _, what = line.partition(" ")
            found[kind].append(what.strip())
    return done.returncode, found, done.stdout + done.stderr


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    path = tmp_path / "tool"
    path.write_text("#!/bin/sh\n")
    return path


@pytest.mark.process
def test_an_account_in_order_passes_and_one_without_finds_all_that_is_wrong(account: Account, tool: Path) -> None:
    account.client("s3").create_bucket(Bucket="mine")
    account.made(tool, "--role", account.role, "--name", "f", "--region", "us-east-1,eu-west-1")
    words = ["--no-invoke", "--host-addr", "192.0.2.1", "exec", "-b", "mine", "-l", "f", "-r", "us-east-1,eu-west-1"]
    status, found, said = doctor(account.environment, account.home, *words, "--", "true")
    assert (status, found["BROKEN"], found["doubtful"]) == (0, [], []), said
    assert found["ok"][0].startswith("credentials: account 123456789012, arn:aws:")
    assert any("function f in eu-west-1: 1536 MB, 180 s, x86_64, python3.13" in line for line in found["ok"])

    words = ["--no-invoke", "--host-addr", "192.0.2.1", "film", "-b", "mine", "-l", "f", "-v", "clip", "--in", "a"]
    status, found, said = doctor(account.environment, account.home, *words)
    assert status == 1
    assert "there is no object s3://mine/a (--in)" in found["BROKEN"], said
    account.client("s3").put_object(Bucket="mine", Key="a", Body=b"any text")
    status, found, said = doctor(account.environment, account.home, *words)
    assert any(line.startswith("a is no film") for line in found["BROKEN"]), said

    lambda_ = account.client("lambda")
    lambda_.delete_function_event_invoke_config(FunctionName="f")  # moto keeps the first of two
    lambda_.put_function_event_invoke_config(
        FunctionName="f", MaximumRetryAttempts=2, DestinationConfig={"OnFailure": {"Destination": "arn:aws:sqs:::q"}}
    )
    lambda_.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=3)
    account.client("lambda", "eu-west-1").delete_function(FunctionName="f")
    words = ["--no-invoke", "png2y4m", "-n", "9", "-b", "yours", "-l", "f", "-r", "us-east-1,eu-west-1"]
    status, found, said = doctor(account.environment, account.home, *words)
    assert status == 1
    assert found["BROKEN"] == ["there is no bucket yours"]
    assert [line.split(":")[0].split(",")[0] for line in found["doubtful"]] == [
        "function f in us-east-1",
        "function f in us-east-1 has a destination for failures",
        "function f in us-east-1 has a reserved concurrency of 3",
        "there is no function f in eu-west-1",
    ]
    assert said.count("why: ") == said.count("do: ") == 5
    assert said.endswith("1 broken: a job would not run\n")


@pytest.mark.process
def test_without_credentials_that_is_said_first(account: Account) -> None:
    environment = {**account.environment, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    status, found, _ = doctor(environment, account.home)
    assert status == 1
    assert found["BROKEN"][0].startswith("no AWS credentials")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Stack]]:
    state_dir = tmp_path_factory.mktemp("state")
    running = start(state_dir / "local", options=["--s3", "moto"])
    stack = running.stack
    control = control_of(stack)
    control.create_bucket("mine")
    control.create_function("f", build_package([], b"true"))
    yield state_dir, stack
    running.stop()


@pytest.mark.process
def test_a_dynamic_program_that_was_packed_runs_in_the_functions_package(local: tuple[Path, Stack]) -> None:
    """AWS's own runtime client runs the zip, with the libraries that are in it."""
    control = control_of(local[1])
    members = collect_programs(Path("/bin/gzip"), allow_ld=True).members
    command = b"./gzip --version; echo $?"
    control.create_function("packed", build_package([], command, members=members))
    told = control.invoke_with_tail("packed", b'{"mode": 0}')
    assert told.error is None
    result = json.loads(told.result)
    assert (result["retval"], result["output"].splitlines()[-1]) == (0, "0"), result


@pytest.mark.process
def test_a_worker_dials_back_to_us_or_to_the_coordinator_that_has_the_port(
    local: tuple[Path, Stack], tmp_path: Path
) -> None:
    state_dir, _ = local
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"}
    words = ["--local", "--state-dir", str(state_dir), "-t", "0"]
    job = ["exec", "-b", "mine", "-l", "f", "--", "true"]
    status, found, said = doctor(environment, tmp_path, *words, *job)
    assert (status, found["doubtful"], found["BROKEN"]) == (0, [], []), said
    assert found["ok"][-1].startswith("an invoked worker reached 127.0.0.1")
    daemon = Process(
        *TWISTD,
        *("mu-coordinator", "--local", "--state-dir", str(state_dir), "-t", "0"),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert daemon.stderr is not None
        line = next(line for line in daemon.stderr if "ready for workers" in line)
        port = line.split()[-1]
        status, found, said = doctor(environment, tmp_path, *words[:-1], port, *job)
        assert status == 0, said
        assert found["ok"][-1] == f"an invoked worker reached the coordinator that runs at 127.0.0.1:{port}"
        other = ["--local", "--state-dir", str(state_dir), "-c", "ssl/ca_cert.pem"]
        assert run(*MU, "genkeys", "ssl", cwd=tmp_path, env=environment).returncode == 0
        status, found, said = doctor(environment, tmp_path, *other, "-t", port, *job)
        assert status == 1, said
        assert f"an invoked worker did not reach 127.0.0.1:{port}: could not reach" in found["BROKEN"][0]
    finally:
        daemon.terminate()
        daemon.communicate(timeout=180)


TALK = """
from mu_twisted.pipelines import PeerOptions, Pipeline

async def talk(w):
    pass

pipeline = Pipeline(name="talk", summary="talks", first=talk, options=PeerOptions, messages=lambda settings, task: [])
"""


@pytest.mark.process
def test_two_workers_show_whether_they_reach_each_other(local: tuple[Path, Stack], tmp_path: Path) -> None:
    state_dir, _ = local
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"}
    words = ["--local", "--state-dir", str(state_dir), "-t", "0", "--punch"]
    listen = ["--state-dir", str(state_dir), "-t", "tcp:0:interface=127.0.0.1"]
    (tmp_path / "talk.py").write_text(TALK)
    job = ["./talk.py", "-n", "2", "-b", "mine", "-l", "f", "-T"]
    daemon = Daemon(tmp_path, *listen)
    try:
        status, found, said = doctor(environment, tmp_path, *words, *job, str(daemon.port))
        assert (status, found["doubtful"], found["BROKEN"]) == (0, [], []), said
        *_, one, two, both = found["ok"]
        for number, line in ((1, one), (2, two)):
            seen = re.match(rf"worker {number} has port (\d+), and is seen at 127\.0\.0\.1, port (\d+): the same", line)
            assert seen is not None
            assert seen[1] == seen[2]
        assert both.startswith("two workers of f reached each other directly: TCP after ")
    finally:
        daemon.kill()
    stranger = Daemon(tmp_path, "--state-dir", str(tmp_path / "other"), *listen[2:])
    try:
        status, found, said = doctor(environment, tmp_path, *words, *job, str(stranger.port))
        assert status == 1
        [line] = found["BROKEN"]
        assert line.startswith("whether two workers reach each other could not be tried: ")
        assert f"127.0.0.1:{stranger.port}: the certificate shown there is not trusted" in line
    finally:
        stranger.kill()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "--punch needs a function and a rendezvous"),
        (["exec", "-b", "mine", "-l", "f", "--", "true"], "--punch needs a function and a rendezvous"),
        (["--no-invoke", "shuffle", "-b", "mine", "-l", "f"], "leave out --no-invoke and --real"),
    ],
)
def test_a_pair_that_cannot_be_tried_is_wrong_use(words: list[str], why: str, tmp_path: Path) -> None:
    status, _, said = doctor({"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, tmp_path, "--punch", *words)
    assert status == 2
    assert why in said
    assert said.count("\n") == 1
