"""Control calls against an endpoint that answers what the test says: one line for each fault, no secret in any."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mu_twisted.aws import AwsControl, AWSError, Clients, aws_session, credentials_chain
from mu_twisted.aws._control import UPDATE_TIMEOUT
from mu_twisted.base.access_keys import AccessKeys

KEYS = AccessKeys("AKIDEXAMPLE", "a-secret-key", "a-session-token")


class Endpoint(ThreadingHTTPServer):
    """Answers by method and the end of the path; remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[tuple[str, str], tuple[int, str, dict[str, object]]] = {}
        self.requests: list[tuple[str, str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def say(self, method: str, ending: str, status: int, code: str = "", **body: object) -> None:
        self.answers[method, ending] = (status, code, body)


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, body))
        found = [v for (m, end), v in self.server.answers.items() if m == self.command and self.path.endswith(end)]
        status, code, reply = found[-1] if found else (404, "ResourceNotFoundException", {})
        data = json.dumps(reply).encode()
        self.send_response(status)
        if code:
            self.send_header("x-amzn-ErrorType", code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_HEAD = _answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def control(endpoint: Endpoint) -> AwsControl:
    return AwsControl(Clients(aws_session(KEYS), "us-east-1", lambda_endpoint=endpoint.url, s3_endpoint=endpoint.url))


def test_a_function_is_there_or_not(endpoint: Endpoint, control: AwsControl) -> None:
    with pytest.raises(AWSError, match="no function f in us-east-1.*mu lambdaize"):
        control.function_settings("f")
    endpoint.say("GET", "/functions/f/configuration", 200, Timeout=7, MemorySize=512)
    assert control.function_settings("f").timeout == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("configuration", "is_original"),
    [
        ({"Handler": "lambda_function.lambda_handler"}, True),
        ({"ImageConfigResponse": {"ImageConfig": {"Command": ["lambda_function.lambda_handler"]}}}, True),
        ({"Handler": "worker_lambda.lambda_function.lambda_handler"}, False),
        ({"Handler": "app.handler"}, False),
        ({}, False),
    ],
)
def test_a_function_of_the_originals_is_known_by_its_handler(
    endpoint: Endpoint, control: AwsControl, configuration: dict[str, Any], is_original: bool
) -> None:
    endpoint.say("GET", "/functions/f/configuration", 200, Timeout=7, MemorySize=512, **configuration)
    assert control.function_settings("f").is_original is is_original


def test_what_is_not_there_is_told_with_where_it_was_looked_for(
    endpoint: Endpoint, control: AwsControl, tmp_path: Path
) -> None:
    local = AwsControl(
        Clients(
            aws_session(KEYS),
            "eu-west-1",
            lambda_endpoint=endpoint.url,
            s3_endpoint=endpoint.url,
            stack=tmp_path / "my own",
        )
    )
    there = f"the local stack in {tmp_path}/my own"
    for requests, function, bucket, fix in (
        (
            control,
            f"us-east-1 at {endpoint.url}",
            f" at {endpoint.url}",
            "mu lambdaize EXE --region us-east-1 --name f",
        ),
        (
            local,
            f"eu-west-1 of {there}",
            f" in {there}",
            f"mu lambdaize EXE --local --state-dir '{tmp_path}/my own' --region eu-west-1 --name f",
        ),
    ):
        with pytest.raises(AWSError) as caught:
            requests.function_settings("f")
        assert str(caught.value) == f"there is no function f in {function}: make it with `{fix}`"
        with pytest.raises(AWSError) as caught:
            requests.function_settings("f", "mu faces")
        assert (
            str(caught.value) == f"there is no function f in {function}: make it by the commands that `mu faces` prints"
        )
        with pytest.raises(AWSError) as caught:
            requests.check_bucket("b")
        assert str(caught.value) == f"there is no bucket b{bucket}: check -b, or make it"


@pytest.mark.parametrize(
    "endpoint_url",
    [None, "https://lambda.eu-west-1.amazonaws.com", "https://lambda.cn-north-1.amazonaws.com.cn"],
)
def test_awss_own_endpoints_are_not_named(endpoint_url: str | None) -> None:
    clients = Clients(aws_session(KEYS), "eu-west-1", lambda_endpoint=endpoint_url)
    assert (clients.where, clients.where_s3) == ("eu-west-1", "")


@pytest.mark.parametrize("state", [{}, {"State": "Active"}, {"State": "Pending"}, {"State": "Inactive"}])
def test_a_function_that_will_run_is_taken_as_it_is(endpoint: Endpoint, control: AwsControl, state: dict) -> None:
    endpoint.say("GET", "/functions/f/configuration", 200, Timeout=7, StateReason="Creating", **state)
    assert control.function_settings("f").timeout == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (
            {"State": "Failed", "StateReason": "The subnet has no\naddresses left."},
            (
                "function f in us-east-1 cannot be invoked, its state is Failed (The subnet has no addresses left): "
                "make it again with `mu lambdaize`"
            ),
        ),
        (
            {"State": "Active", "LastUpdateStatus": "Failed", "LastUpdateStatusReason": "The role is gone"},
            (
                "the last update of function f in us-east-1 has failed (The role is gone): "
                "update it again with `mu lambdaize --replace`"
            ),
        ),
        ({"State": "Failed"}, "function f in us-east-1 cannot be invoked, its state is Failed: make it again with"),
    ],
)
def test_a_function_that_will_not_run_is_one_line(
    endpoint: Endpoint, control: AwsControl, state: dict[str, str], text: str
) -> None:
    endpoint.say("GET", "/functions/f/configuration", 200, **state)
    with pytest.raises(AWSError) as caught:
        control.function_settings("f")
    assert str(caught.value).replace(f" at {endpoint.url}", "").startswith(text)


@pytest.mark.parametrize("lasts", [0, 3, 10_000])
def test_a_function_that_is_being_updated_is_waited_for_but_not_for_ever(endpoint: Endpoint, lasts: int) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > lasts:
            endpoint.say("GET", "/functions/f/configuration", 200, LastUpdateStatus="Successful", Timeout=9)

    endpoint.say("GET", "/functions/f/configuration", 200, LastUpdateStatus="InProgress")
    control = AwsControl(Clients(aws_session(KEYS), "us-east-1", lambda_endpoint=endpoint.url), sleep=sleep)
    if lasts < 100:
        assert control.function_settings("f").timeout == timedelta(seconds=9)
    else:
        with pytest.raises(AWSError, match="is being updated: try again when that is done"):
            control.function_settings("f")
    assert sum(slept) == min(lasts + 1, UPDATE_TIMEOUT)


def test_a_bucket_is_there_or_not(endpoint: Endpoint, control: AwsControl) -> None:
    with pytest.raises(AWSError, match="no bucket b"):
        control.check_bucket("b")
    endpoint.say("HEAD", "/b", 200)
    control.check_bucket("b")


@pytest.mark.parametrize("name", ["", "two words", "a/b"])
def test_what_cannot_name_a_bucket_is_told_in_a_few_words(endpoint: Endpoint, control: AwsControl, name: str) -> None:
    with pytest.raises(AWSError) as caught:
        control.check_bucket(name)
    assert str(caught.value) == f"{name!r} cannot be the name of a bucket: check -b"
    assert not endpoint.requests


def test_a_bucket_that_may_not_be_used_is_an_error_and_not_a_missing_one(
    endpoint: Endpoint, control: AwsControl
) -> None:
    endpoint.say("HEAD", "/b", 403)
    with pytest.raises(AWSError, match="access denied"):
        control.check_bucket("b")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("AccessDeniedException", "access denied"),
        ("UnrecognizedClientException", "credentials were refused"),
        ("ExpiredTokenException", "have expired"),
    ],
)
def test_a_refusal_is_one_line(endpoint: Endpoint, control: AwsControl, code: str, text: str) -> None:
    endpoint.say("GET", "/functions/f/configuration", 403, code, message="no\nand why")
    with pytest.raises(AWSError, match=text) as caught:
        control.function_settings("f")
    assert "\n" not in str(caught.value)


def test_an_absent_endpoint_is_one_line_that_names_it() -> None:
    control = AwsControl(Clients(aws_session(KEYS), "us-east-1", lambda_endpoint="http://127.0.0.1:9"))
    with pytest.raises(AWSError, match=r"127\.0\.0\.1:9") as caught:
        control.function_settings("f")
    assert "\n" not in str(caught.value)


def test_what_aws_repeats_of_the_request_is_not_shown(endpoint: Endpoint, control: AwsControl) -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    message = f"It is wrong {secret}.\n\nThe canonical string was\nx-amz-security-token:{KEYS.token}"
    endpoint.say("GET", "/functions/f/configuration", 400, "OddException", message=message)
    with pytest.raises(AWSError, match="OddException: It is wrong") as caught:
        control.function_settings("f")
    assert KEYS.token is not None
    assert KEYS.token not in str(caught.value)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "bad", [AccessKeys("AK\nID", "B"), AccessKeys("A", "se cret"), AccessKeys("A", "B", "Q7Z\nen")]
)
def test_keys_with_a_line_break_are_refused_before_they_stand_in_an_error(bad: AccessKeys) -> None:
    with pytest.raises(AWSError, match="copy it again") as caught:
        aws_session(bad)
    for value in ("AK\nID", "se cret", "Q7Z"):
        assert value not in str(caught.value)


def test_a_function_is_made_of_the_package_and_never_retried_by_lambda(endpoint: Endpoint, control: AwsControl) -> None:
    endpoint.say("POST", "/functions", 201, FunctionName="f", CodeSize=3)
    endpoint.say("GET", "/functions/f", 200, Configuration={"State": "Active"})
    endpoint.say("PUT", "/functions/f/event-invoke-config", 200)
    assert control.create_function("f", b"zip")["CodeSize"] == 3
    made = json.loads(next(body for method, path, body in endpoint.requests if path.endswith("/functions")))
    assert made["Handler"] == "worker_lambda.lambda_function.lambda_handler"
    assert made["Runtime"] == "python3.13"
    requests = json.loads(next(body for _, path, body in endpoint.requests if path.endswith("event-invoke-config")))
    assert requests == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}


@pytest.mark.parametrize(("status", "code"), [(404, "UnknownOperationException"), (501, ""), (405, "")])
def test_an_endpoint_without_event_settings_is_tolerated(
    endpoint: Endpoint, control: AwsControl, status: int, code: str
) -> None:
    endpoint.say("POST", "/functions", 201, FunctionName="f")
    endpoint.say("GET", "/functions/f", 200, Configuration={"State": "Active"})
    endpoint.say("PUT", "/functions/f/event-invoke-config", status, code)
    assert control.create_function("f", b"zip") == {"FunctionName": "f"}


def test_event_settings_that_are_denied_are_an_error(endpoint: Endpoint, control: AwsControl) -> None:
    endpoint.say("POST", "/functions", 201, FunctionName="f")
    endpoint.say("GET", "/functions/f", 200, Configuration={"State": "Active"})
    endpoint.say("PUT", "/functions/f/event-invoke-config", 403, "AccessDeniedException")
    with pytest.raises(AWSError, match="access denied"):
        control.create_function("f", b"zip")


def test_the_chain_is_asked_when_keys_are_wanted_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    keys_now = credentials_chain()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "LATE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "later")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    assert keys_now() == AccessKeys("LATE", "later", None)
