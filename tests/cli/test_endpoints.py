"""A base URL of Lambda or S3 that is typed holds in every command, also beside ``--local``, and is looked at first."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from command_line import Mu
from control_server import Loop, Served

from mu_twisted.cli._cloud import open_cloud
from mu_twisted.cli._main import parsed
from mu_twisted.client import coordinator_at
from mu_twisted.client.map_backend import MapBackend
from mu_twisted.client.map_request import MapPlace
from mu_twisted.daemons.doctor._examination import embedded, judge_s3
from mu_twisted.local import Stack
from mu_twisted.local._state import STACK, StackDirectory, write_private

OTHER = "http://127.0.0.1:1"
WORDS = {
    "cp": ["README.md", "s3://mine/x"],
    "ls": [],
    "mb": ["s3://mine"],
    "rm-bucket": ["s3://mine"],
    "lambdaize": ["/bin/true"],
    "functions": [],
}


@pytest.fixture
def stack(run: Mu, tmp_path: Path, moto_server: str) -> Iterator[Stack]:
    """An embedded stack in ``stack``, as far as commands see."""
    held = StackDirectory(tmp_path / "stack")
    found = Stack(moto_server, moto_server, "AKIDSTACK", "example", "us-east-1")
    write_private(held.path / STACK, json.dumps({**asdict(found), "pid": os.getpid()}))
    yield found
    held.release()


@pytest.mark.parametrize("command", WORDS)
def test_a_url_that_is_typed_holds_beside_local(command: str, stack: Stack) -> None:
    for typed in ([], [f"--s3-endpoint-url={OTHER}"], [f"--endpoint-url={OTHER}"]):
        cloud = open_cloud(parsed([command, "--local", "--state-dir", "stack", *typed, *WORDS[command]]))
        clients = cloud.clients("us-east-1")
        other = [option.partition("=")[0] for option in typed]
        assert clients.s3.meta.endpoint_url == (OTHER if other == ["--s3-endpoint-url"] else stack.s3_endpoint)
        assert clients.awslambda.meta.endpoint_url == (OTHER if other == ["--endpoint-url"] else stack.lambda_endpoint)
        assert cloud.session.get_credentials().access_key == "AKIDSTACK"
        assert ("local stack" in clients.where) is not bool(typed)


def test_it_holds_for_what_map_reads_and_stores(stack: Stack, tmp_path: Path) -> None:
    coordinator = coordinator_at(None, tmp_path / "state", None, None, None)
    for url in (None, OTHER):
        place = MapPlace(local=True, local_state_dir=tmp_path / "stack", s3_endpoint_url=url)
        cloud = MapBackend(coordinator, place, print).cloud()
        assert cloud.s3_endpoint == (url or stack.s3_endpoint)
        assert cloud.session.get_credentials().access_key == "AKIDSTACK"


@pytest.mark.parametrize("url", ["ftp://x", "x", "http://192.0.2.1"])
def test_what_is_no_base_url_is_refused_with_a_coordinator_that_runs_too(
    run: Mu, served: Served, loop: Loop, url: str
) -> None:
    mapped = ["--state-dir", str(served.state), ":::", "a", "--", "echo"]
    for command, words in {**WORDS, "map": mapped}.items():
        for local in ([], ["--local"]):
            done = run(command, *local, f"--s3-endpoint-url={url}", *words)
            assert (done.status, done.out, done.err.count("\n")) == (2, "", 1), done.err
            assert "--s3-endpoint-url: " in done.err
            assert url in done.err
    assert not served.service.requests


def test_map_says_that_workers_of_a_coordinator_that_runs_do_not_use_it(
    run: Mu, served: Served, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["map", "--no-wait", "--state-dir", str(served.state), ":::", "a", "--", "echo"]
    done = run(words[0], f"--s3-endpoint-url={OTHER}", *words[1:])
    assert done.status == 0
    assert done.err.startswith("note: the coordinator that runs (process ")
    assert f"--s3-endpoint-url={OTHER} is for what this command itself reads and stores" in done.err
    assert run(*words).err == ""
    monkeypatch.setenv("MU_S3_ENDPOINT_URL", OTHER)  # it may be the coordinator's as well
    assert run(*words).err == ""


def test_the_doctor_asks_an_s3_that_was_named_where_there_is_no_bucket(moto_server: str) -> None:
    assert judge_s3(moto_server).what == f"S3 answers at {moto_server}"
    with pytest.raises(Exception, match="does not answer"):
        judge_s3(OTHER)


@pytest.mark.parametrize(
    ("lambda_url", "s3_url", "said"),
    [
        (None, None, "the embedded Lambda and S3 of this machine answer"),
        (OTHER, None, "the embedded S3 of this machine answers"),
        (None, OTHER, "the embedded Lambda of this machine answers"),
        (OTHER, OTHER, "Lambda and S3 are others than the embedded ones of this machine"),
    ],
)
def test_the_doctor_calls_embedded_what_is(lambda_url: str | None, s3_url: str | None, said: str) -> None:
    assert embedded(lambda_url, s3_url) == said
