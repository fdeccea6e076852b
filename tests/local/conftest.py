"""A real stack for the tests that need one, and small functions to run on it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from mu_twisted.local import RunningStack, Stack, start

ROLE = "arn:aws:iam::000000000000:role/any"


def make_zip(**files: str) -> bytes:
    """A package of modules by name."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__slash__", "/") + ".py", text)
    return held.getvalue()


def connect(stack: Stack, service: str, **more: Any) -> Any:
    """boto3, with only endpoint and credentials changed."""
    keys = {"aws_access_key_id": stack.access_key, "aws_secret_access_key": stack.secret_key}
    config = Config(retries={"max_attempts": 0}, read_timeout=30, max_pool_connections=64)
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
        request = {"Runtime": "python3.12", "Role": ROLE, "Handler": "m.handler", "Timeout": 5, **settings}
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
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningStack]]:
    """Three stacks at once: one for each way to start an environment, and one with no help of the kernel's."""
    options = {
        "zygote": ["--retry-delay=0.2", "--concurrency=20"],
        "plain": ["--retry-delay=0.2", "--concurrency=20", "--spawn=plain"],
        "weak": ["--retry-delay=0.2", "--concurrency=20", "--isolation=none", "--no-cgroups"],
    }
    root = tmp_path_factory.mktemp("stacks")
    with ThreadPoolExecutor() as threads:
        starting = {name: threads.submit(start, Path(root, name), options=given) for name, given in options.items()}
        running = {name: started.result() for name, started in starting.items()}
    yield running
    for stack in running.values():
        stack.stop()


@pytest.fixture(scope="module", params=["zygote", "plain", "weak"])
def caller(request: pytest.FixtureRequest, stacks: dict[str, RunningStack]) -> Iterator[Caller]:
    """A caller of each stack in turn."""
    caller = Caller(stacks[request.param].stack)
    yield caller
    for function in caller.client.list_functions()["Functions"]:
        caller.client.delete_function(FunctionName=function["FunctionName"])
    caller.client.close()


@pytest.fixture(scope="module")
def one(stacks: dict[str, RunningStack]) -> Iterator[Caller]:
    """A caller of the ordinary stack, for what does not depend on how environments start."""
    caller = Caller(stacks["zygote"].stack)
    yield caller
    for function in caller.client.list_functions()["Functions"]:
        caller.client.delete_function(FunctionName=function["FunctionName"])
    caller.client.close()
