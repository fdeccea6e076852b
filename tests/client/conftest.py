"""A control API in memory, and one coordinator with the embedded Lambda and S3, for the clients of this directory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from control_server import Served, control_loop, served_control  # noqa: F401 - fixtures
from memory_calls import Calls

from mu_twisted import connect
from mu_twisted.client import Client
from mu_twisted.local import find, stop


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose local stack is ended afterwards."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as environment:
        for name in ("MU_LOCAL", "MU_PROFILE", "MU_SERVER", "STATE_DIRECTORY", "AWS_ENDPOINT_URL"):
            environment.delenv(name, raising=False)
        environment.setenv("HOME", str(home))
        environment.setenv("XDG_STATE_HOME", str(home / "state"))
        environment.setenv("XDG_CONFIG_HOME", str(home / "config"))
        try:
            yield home
        finally:
            stop(home / "state" / "mu" / "local")


@pytest.fixture(scope="session")
def mu(home: Path) -> Iterator[Client]:
    """A client of a coordinator of its own, which works with the local stack."""
    with connect(local=True) as mu:
        yield mu


@pytest.fixture(scope="session")
def s3(mu: Client, home: Path) -> Any:
    """Its S3, with the bucket ``mine``."""
    mu.map("true", each=["x"]).wait()  # the stack runs then
    stack = find(home / "state" / "mu" / "local")
    assert stack is not None
    s3 = boto3.client(
        "s3",
        endpoint_url=stack.s3_endpoint,
        aws_access_key_id=stack.access_key,
        aws_secret_access_key=stack.secret_key,
        region_name=stack.region,
    )
    s3.create_bucket(Bucket="mine")
    return s3


@pytest.fixture
def calls(served: Served) -> Iterator[Calls]:
    calls = Calls(served)
    yield calls
    for job in calls.loop.do(calls.jobs.jobs):
        calls.loop.do(calls.jobs.cancel, job.job)
    calls.loop.do(calls.jobs.stop)
    calls.loop.do(calls.journal.close)
