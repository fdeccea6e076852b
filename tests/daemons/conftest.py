"""The real daemons as processes, and one embedded stack for all tests that need Lambda and S3."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import botocore_models
import pytest
from daemon_processes import Coordinate, Ended, Local
from encoder_jobs import FakeEncoders, environment, prepare_encoders, rendezvous
from warm_processes import LIMIT, TWISTD, Process
from warm_processes import run as run_warm

from mu_twisted.aws import AwsControl, Clients, aws_session, build_package
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.local import RunningStack, start

botocore_models.share()


@pytest.fixture
def coordinate(tmp_path: Path) -> Coordinate:
    """Run ``twistd mu-coordinator`` with these words to its end."""

    def run(*words: str, **more: str) -> Ended:
        done = run_warm(*TWISTD, "mu-coordinator", *words, env=environment(tmp_path, more), cwd=tmp_path, timeout=LIMIT)
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    state_dir = tmp_path_factory.mktemp("state")
    running: RunningStack = start(state_dir / "local", limit=LIMIT)
    try:
        stack = running.stack
        control = AwsControl(
            Clients(
                aws_session(AccessKeys(stack.access_key, stack.secret_key)),
                stack.region,
                lambda_endpoint=stack.lambda_endpoint,
                s3_endpoint=stack.s3_endpoint,
            )
        )
        control.create_bucket(Local.BUCKET)
        control.create_function(Local.FUNCTION, build_package([], b"cat ##INFILE## > ##OUTFILE##"))
        yield Local(state_dir, stack, control)
    finally:
        running.stop()


@pytest.fixture(scope="session")
def rendezvous_port(local: Local) -> Iterator[int]:
    """The port of the one rendezvous that holds the state directory."""
    with rendezvous("--state-dir", str(local.state_dir)) as port:
        yield port


@pytest.fixture(scope="session")
def encoders(local: Local, rendezvous_port: int, tmp_path_factory: pytest.TempPathFactory) -> FakeEncoders:
    """Stands for the encoders, as a function."""
    return prepare_encoders(local, tmp_path_factory.mktemp("tools"), rendezvous_port)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start ``twistd mu-coordinator`` and leave it running until the test ends."""
    started: list[subprocess.Popen[str]] = []

    def run(*words: str, ready: str | None = "ready for workers") -> "subprocess.Popen[str]":
        process = Process(
            *TWISTD,
            "mu-coordinator",
            *words,
            env=environment(tmp_path, {}),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stderr is not None
        while ready is not None:
            line = process.stderr.readline()
            assert line, "it ended before it was ready"
            if ready in line:
                break
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
