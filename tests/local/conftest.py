"""A real stack for the tests that need one, and small functions to run on it."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore_models
import pytest
from botocore.config import Config

from mu_twisted.local import RunningStack, Stack, start

botocore_models.share()

UNPRIVILEGED = 65534
ROLE = "arn:aws:iam::000000000000:role/any"


def make_zip(**files: str) -> bytes:
    """A package of modules by name."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            # Of 1980: the same bytes whenever it is made.
            entry = zipfile.ZipInfo(name.replace("__slash__", "/") + ".py")
            entry.external_attr = 0o600 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
    return held.getvalue()


def connect(stack: Stack, service: str, **more: Any) -> Any:
    """boto3, with only endpoint and credentials changed."""
    keys = {"aws_access_key_id": stack.access_key, "aws_secret_access_key": stack.secret_key}
    config = Config(retries={"max_attempts": 0}, read_timeout=180, max_pool_connections=64)
    session = boto3.Session(**{**keys, "region_name": "us-east-1", **more})
    url = stack.s3_endpoint if service == "s3" else stack.lambda_endpoint
    return session.client(service, endpoint_url=url, config=config)


class Caller:
    """Makes functions and calls them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = connect(stack, "lambda")
        self._made = 0

    def make(self, source: str, **settings: Any) -> str:
        """A function whose module ``m`` is this; its name."""
        self._made += 1
        name = f"f{self._made}"
        request = {"Runtime": "python3.12", "Role": ROLE, "Handler": "m.handler", "Timeout": 60, **settings}
        files = request.pop("files", {})
        self.client.create_function(FunctionName=name, Code={"ZipFile": make_zip(m=source, **files)}, **request)
        return name

    def call(self, name: str, event: object = None, **more: Any) -> tuple[Any, dict[str, Any]]:
        """Invoke: the payload, and boto3's whole answer."""
        answer = self.client.invoke(FunctionName=name, Payload=json.dumps(event or {}), **more)
        with closing(answer["Payload"]) as body:
            text = body.read()
        return (json.loads(text) if text else None), answer


@pytest.fixture(scope="session")
def package() -> Callable[..., bytes]:
    return make_zip


@pytest.fixture(scope="session")
def connector() -> Callable[..., Any]:
    return connect


@pytest.fixture(scope="session")
def caller_of() -> Callable[[Stack], Caller]:
    return Caller


class Ordinary:
    """A stack that an ordinary user runs: we ourselves, or where we are root, another."""

    def __init__(self, directory: Path, options: list[str]) -> None:
        self.state_dir = directory / "state"
        uid = os.geteuid() or UNPRIVILEGED
        os.chown(directory, uid, -1)
        script = Path(__file__).parents[1] / "support" / "unprivileged_stack.py"
        self._process = subprocess.Popen(
            [sys.executable, script, str(uid), self.state_dir, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if not line.startswith("{"):
            self.stop()
            raise RuntimeError(f"no stack of an ordinary user's: {line.strip()}")
        said = json.loads(line)
        self.stack = Stack(**said["stack"])
        self.pid = said["pid"]

    def stop(self) -> None:
        self._process.communicate(timeout=180)


@pytest.fixture(scope="session")
def ordinary() -> Iterator[Callable[..., Ordinary]]:
    """Starts a stack as an ordinary user, in a directory that it reaches; skips where this machine cannot."""
    directories: list[Path] = []
    stacks: list[Ordinary] = []

    def begin(*options: str) -> Ordinary:
        directory = Path(tempfile.mkdtemp(prefix="mu-ordinary-", dir="/tmp"))
        directories.append(directory)
        try:
            running = Ordinary(directory, list(options))
        except RuntimeError as error:
            pytest.skip(str(error))
        stacks.append(running)
        return running

    yield begin
    for running in stacks:
        running.stop()
    for directory in directories:
        shutil.rmtree(directory)


@contextmanager
def few_descriptors() -> Iterator[None]:
    """What is started here begins with as few as a desktop gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="session")
def stacks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ordinary: Callable[..., Ordinary]
) -> Iterator[dict[str, RunningStack]]:
    """Stacks at once: one for each way to start an environment, and two of an ordinary user's, with no help of the
    kernel's and with what it may have. Those that no test of this run wants are left out."""
    common = ["--retry-delay=0.1", "--concurrency=20"]
    options = {
        "zygote": [],
        "plain": ["--spawn=plain", "--s3=moto"],
        "weak": ["--isolation=none", "--no-cgroups"],
        # A second try would come later than the least age that an event may be given.
        "user": ["--s3=moto", "--retry-delay=61"],
    }
    given = [item.callspec.params.values() for item in request.session.items if hasattr(item, "callspec")]
    wanted = {"zygote", "user", *(value for values in given for value in values if isinstance(value, str))}
    options = {name: more for name, more in options.items() if name in wanted}
    root = tmp_path_factory.mktemp("stacks")

    def begin(name: str) -> Any:
        given = [*common, *options[name]]
        return ordinary(*given) if name in ("weak", "user") else start(root / name, options=given)

    running: dict[str, Any] = {}
    with few_descriptors(), ThreadPoolExecutor() as threads:
        starting = {name: threads.submit(begin, name) for name in options}
        for name, started in starting.items():
            # What cannot be had here is skipped by the tests that want it.
            error = started.exception()
            if error is None:
                running[name] = started.result()
            elif not isinstance(error, pytest.skip.Exception):
                raise error
    yield running
    for stack in running.values():
        stack.stop()
        kept = ["functions", "keys.json", "local.log", "lock", "s3"]
        assert sorted(path.name for path in stack.state_dir.iterdir()) == kept
        assert "Traceback" not in (stack.state_dir / "local.log").read_text()


def calling(stacks: dict[str, RunningStack], name: str) -> Iterator[Caller]:
    """A caller of one of the stacks, whose functions go with it."""
    if name not in stacks:
        pytest.skip("this machine can have no stack of an ordinary user's")
    caller = Caller(stacks[name].stack)
    yield caller
    for function in caller.client.list_functions()["Functions"]:
        caller.client.delete_function(FunctionName=function["FunctionName"])
    caller.client.close()


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("plain", "weak")]
"""Ways to start an environment that are tried by the long tests alone."""


@pytest.fixture(scope="module", params=["zygote", *LONG])
def caller(request: pytest.FixtureRequest, stacks: dict[str, RunningStack]) -> Iterator[Caller]:
    """A caller of each stack in turn."""
    yield from calling(stacks, request.param)


@pytest.fixture(scope="module")
def one(stacks: dict[str, RunningStack]) -> Iterator[Caller]:
    """A caller of the ordinary stack, for what does not depend on how environments start."""
    yield from calling(stacks, "zygote")
