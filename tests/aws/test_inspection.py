"""The doctor's questions, asked of an AWS that others have written (moto), and of a clock."""

import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest

from mu_twisted.aws import AWSError, Clients, Functions, FunctionSpec, aws_session, build_package
from mu_twisted.aws.inspection import CallerIdentity, Inspection, clock_skew

REGION = "eu-west-1"


@pytest.fixture
def clients(moto: None) -> Clients:
    return Clients(aws_session(), REGION)


def make(clients: Clients) -> None:
    trust = '{"Version": "2012-10-17", "Statement": []}'
    role = boto3.client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    Functions(clients).create(FunctionSpec(name="f", role=role, memory_mb=512), build_package([], b"true"))


def test_who_we_are_is_told(clients: Clients) -> None:
    assert Inspection(clients).caller() == CallerIdentity("123456789012", "arn:aws:sts::123456789012:user/moto")


def test_a_function_is_told_with_what_decides_over_its_events_and_workers(clients: Clients) -> None:
    inspection = Inspection(clients)
    assert inspection.function("f") is None
    make(clients)
    clients.awslambda.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=7)
    found = inspection.function("f")
    assert found is not None
    assert (found.settings["MemorySize"], found.reserved, found.region) == (512, 7, REGION)
    assert found.events is not None
    assert found.events["MaximumRetryAttempts"] == 0
    clients.awslambda.delete_function_event_invoke_config(FunctionName="f")
    again = inspection.function("f")
    assert again is not None
    assert again.events is None


def test_a_buckets_region_is_told_and_a_missing_one_is_one_line(clients: Clients) -> None:
    clients.s3.create_bucket(Bucket="b-1", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert Inspection(clients).bucket_region("b-1") == REGION
    with pytest.raises(AWSError, match="there is no bucket b-2"):
        Inspection(clients).bucket_region("b-2")


def test_a_question_that_is_denied_is_one_line(clients: Clients) -> None:
    from botocore.exceptions import ClientError

    def deny(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetAccountSettings")

    clients.awslambda.meta.events.register("before-call.lambda.GetAccountSettings", deny)
    with pytest.raises(AWSError, match="cannot ask for the account's limits in eu-west-1: access denied"):
        Inspection(clients).concurrency()


class _Clock(BaseHTTPRequestHandler):
    date: str | None = None

    def do_HEAD(self) -> None:
        self.send_response_only(403)
        if self.date is not None:
            self.send_header("Date", self.date)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Clock)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("ahead", [0, 600, -600])
def test_the_time_is_compared_with_the_endpoints(endpoint: str, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Clock, "date", formatdate(1_900_000_000, usegmt=True))
    assert clock_skew(endpoint, now=lambda: 1_900_000_000.5 + ahead) == ahead


@pytest.mark.parametrize("date", [None, "noon"])
def test_an_endpoint_that_says_no_time_is_one_line(
    endpoint: str, date: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Clock, "date", date)
    with pytest.raises(AWSError, match="does not say what time it is"):
        clock_skew(endpoint)


def test_an_endpoint_that_is_not_there_is_one_line() -> None:
    with pytest.raises(AWSError, match="http://127.0.0.1:9 does not answer: .*refused"):
        clock_skew("http://127.0.0.1:9")
