"""What reaches this machine's own endpoints goes by no proxy, and asks no host's configuration for leave."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mu_twisted.aws import AWSError, Clients, aws_session
from mu_twisted.aws._code import files_in_package
from mu_twisted.aws._proxies import is_loopback
from mu_twisted.aws.inspection import clock_skew
from mu_twisted.base.access_keys import AccessKeys


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_PUT = do_GET


@pytest.fixture
def here() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []  # type: ignore[attr-defined]
    server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True, params=["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(request.param, "http://127.0.0.1:9")


def session() -> Any:
    return aws_session(AccessKeys("A", "B"))


@pytest.mark.parametrize("service", ["awslambda", "s3", "sts"])
def test_the_sdks_clients_reach_loopback_directly(here: Any, monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", here.url)
    clients = Clients(session(), "us-east-1", lambda_endpoint=here.url, s3_endpoint=here.url)
    call = {
        "awslambda": lambda: clients.awslambda.get_function(FunctionName="f"),
        "s3": lambda: clients.s3.head_bucket(Bucket="b-1"),
        "sts": lambda: clients.sts.get_caller_identity(),
    }[service]
    with pytest.raises(Exception, match="404|invalid XML"):
        call()
    assert here.seen


def test_a_functions_package_is_looked_into_directly(here: Any) -> None:
    with pytest.raises(AWSError):
        files_in_package(f"{here.url}/package", "f")
    assert here.seen


def test_the_clock_of_an_endpoint_is_asked_directly(here: Any) -> None:
    clock_skew(here.url)
    assert here.seen


def test_what_loopback_is() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("", "lambda.us-east-1.amazonaws.com", "10.0.0.1", "localhost.example.org")))


CONFIGURATIONS = {
    "accelerated": "[default]\ns3 =\n  use_accelerate_endpoint = true\n",
    "dual stack": "[default]\ns3 =\n  use_dualstack_endpoint = true\n",
    "dual stack of all": "[default]\nuse_dualstack_endpoint = true\n",
    "fips": "[default]\nuse_fips_endpoint = true\n",
    "broken": "[profile x\nfoo",
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_hosts_configuration_stops_none_who_has_keys_and_an_endpoint(
    here: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(CONFIGURATIONS[name])
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(Exception, match="404"):
        Clients(session(), "us-east-1", s3_endpoint=here.url).s3.head_bucket(Bucket="b-1")
    assert here.seen


def test_an_unknown_profile_stops_none_who_has_keys(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-another-machine")
    with pytest.raises(Exception, match="404"):
        Clients(session(), "us-east-1", s3_endpoint=here.url).s3.head_bucket(Bucket="b-1")
    assert here.seen


def test_a_profile_that_accelerates_does_so_with_aws_only(
    here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By botocore's own chain, as a user's ``--s3-endpoint-url`` has it."""
    (tmp_path / "config").write_text(CONFIGURATIONS["accelerated"])
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "B")
    with pytest.raises(Exception, match="404"):
        Clients(aws_session(), "us-east-1", s3_endpoint=here.url).s3.head_bucket(Bucket="b-1")
    assert here.seen
