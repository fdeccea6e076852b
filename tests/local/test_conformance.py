"""What AWS's own SDK sees: the same things as at AWS. On real stacks, each way of starting environments."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from function_packages import BROKEN
from warm_processes import LIMIT

pytestmark = pytest.mark.process

ECHO = "def handler(event, context):\n    return event\n"
FAULTS = """
import os, sys, time
count = 0
def handler(event, context):
    global count
    count += 1
    what = event.get("do")
    print("doing", what)
    if what == "raise": raise ValueError("bad")
    if what == "exit": sys.exit(3)
    if what == "vanish": os._exit(0)
    if what == "kill": os.kill(os.getpid(), 9)
    if what == "sleep": time.sleep(event["for"])
    if what == "print": print("x" * 9000 + "tail")
    if what == "large": return "x" * (7 << 20)
    return {"count": count, "left": context.get_remaining_time_in_millis(), "id": context.aws_request_id}
"""
MARKS = """
import socket, time
def handler(event, context):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(("%s %f" % (context.aws_request_id, time.monotonic())).encode(), ("127.0.0.1", event["port"]))
    if event.get("fail"): raise ValueError("always")
    time.sleep(event.get("for", 0))
"""

HELD = """
import contextlib, socket
def handler(event, context):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", event["port"])) as line:
        line.recv(1)
"""
"""Runs until the test closes that port."""


class Ear:
    """Hears of each run of a handler, wherever it runs."""

    def __init__(self) -> None:
        self._end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._end.bind(("127.0.0.1", 0))
        self.port = self._end.getsockname()[1]

    def hear(self, wait: float = LIMIT) -> tuple[str, float] | None:
        """The next run: its request and when it was by the machine's steady clock; None where there is none in time."""
        self._end.settimeout(wait)
        try:
            name, moment = self._end.recv(1000).decode().split()
        except TimeoutError:
            return None
        return name, float(moment)

    def heard(self, count: int) -> list[tuple[str, float]]:
        """So many runs, in their order."""
        found = [self.hear() for _ in range(count)]
        assert None not in found
        return sorted((run for run in found if run is not None), key=lambda run: run[1])

    def close(self) -> None:
        self._end.close()


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.close()


@contextmanager
def refused(code: str, status: int) -> Iterator[dict[str, Any]]:
    """The block ends in this error of AWS's; its whole answer is given."""
    found: dict[str, Any] = {}
    with pytest.raises(ClientError) as caught:
        yield found
    found.update(caught.value.response)
    assert (found["Error"]["Code"], found["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)


@pytest.fixture(scope="module")
def faulty(caller: Any) -> str:
    return str(caller.make(FAULTS))


def test_an_event_comes_back_as_the_handler_returned_it(caller: Any) -> None:
    event = {"a": [1, "\u00e9\U0001f600"], "b": None}
    payload, answer = caller.call(caller.make(ECHO), event)
    assert payload == event
    assert (answer["StatusCode"], answer["ExecutedVersion"], "FunctionError" in answer) == (200, "$LATEST", False)


def test_no_payload_is_an_empty_object(caller: Any) -> None:
    with closing(caller.client.invoke(FunctionName=caller.make(ECHO))["Payload"]) as body:
        assert json.loads(body.read()) == {}


def test_a_warm_environment_is_used_again(caller: Any) -> None:
    name = caller.make(FAULTS)
    counts = [caller.call(name)[0]["count"] for _ in range(5)]
    assert counts == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("what", "kind", "said"),
    [
        ("raise", "ValueError", "bad"),
        ("exit", "Runtime.ExitError", "exit status 3"),
        ("vanish", "Runtime.ExitError", "without providing a reason"),
        ("kill", "Runtime.ExitError", "signal: killed"),
        ("large", "Function.ResponseSizeTooLarge", "exceeded maximum"),
    ],
)
def test_a_fault_of_the_handler_is_a_function_error(caller: Any, faulty: str, what: str, kind: str, said: str) -> None:
    payload, answer = caller.call(faulty, {"do": what})
    assert (answer["StatusCode"], answer["FunctionError"], payload["errorType"]) == (200, "Unhandled", kind)
    assert said in payload["errorMessage"]
    assert caller.call(faulty)[0]["count"] >= 1


def test_a_module_that_cannot_be_loaded_is_an_init_error(caller: Any) -> None:
    payload, answer = caller.call(caller.make("import nothing_like_this"), LogType="Tail")
    assert (answer["FunctionError"], payload["errorType"]) == ("Unhandled", "Runtime.ImportModuleError")
    assert b"nothing_like_this" in base64.b64decode(answer["LogResult"])
    payload, answer = caller.call(caller.make("raise RuntimeError('early')"))
    assert (answer["FunctionError"], payload["errorType"]) == ("Unhandled", "RuntimeError")


ENVIRONMENT = """
import os
def handler(event, context):
    return {"env": dict(os.environ), "cwd": os.getcwd(), "nice": os.nice(0), "stream": context.log_stream_name}
"""


def test_a_handler_sees_the_variables_that_lambda_sets(caller: Any) -> None:
    found, _ = caller.call(caller.make(ENVIRONMENT))
    env = found["env"]
    assert env["PWD"] == env["LAMBDA_TASK_ROOT"] == found["cwd"]
    assert env["AWS_SESSION_TOKEN"] == ""
    assert env["LC_CTYPE"] == "C.UTF-8"
    assert env["LD_LIBRARY_PATH"].split(":")[-1] == "/opt/lib"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]+", found["stream"])
    assert env["AWS_LAMBDA_LOG_STREAM_NAME"] == found["stream"]


def test_the_functions_wrapper_starts_the_runtime(caller: Any) -> None:
    wrapped = caller.make(ENVIRONMENT, Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/usr/bin/nice"}})
    assert caller.call(wrapped)[0]["nice"] == min(19, os.nice(0) + 10)
    missing = caller.make(ENVIRONMENT, Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/nothing"}})
    payload, answer = caller.call(missing, LogType="Tail")
    assert (answer["FunctionError"], payload["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert b"/opt/nothing cannot be run: No such file or directory" in base64.b64decode(answer["LogResult"])


@pytest.mark.parametrize("payload", [b'{"a": NaN}', b"\xff", '{"a": 1}'.encode("utf-16"), b"{", b'"\xed\xa0\x80"'])
def test_a_payload_is_json_in_utf_8(caller: Any, faulty: str, payload: bytes) -> None:
    for kind in ("RequestResponse", "Event", "DryRun"):
        with refused("InvalidRequestContentException", 400):
            caller.client.invoke(FunctionName=faulty, Payload=payload, InvocationType=kind)


def test_the_time_limit_is_a_function_error_and_the_next_call_is_served(caller: Any) -> None:
    name = caller.make(FAULTS, Timeout=3)
    until, printed = time.monotonic() + LIMIT, b""
    while b"doing sleep" not in printed:  # so busy is the machine that the handler has not begun by then
        assert time.monotonic() < until
        began = time.monotonic()
        payload, answer = caller.call(name, {"do": "sleep", "for": 600}, LogType="Tail")
        assert time.monotonic() - began > 2.9
        assert answer["FunctionError"] == "Unhandled"
        assert "timed out after 3.00 seconds" in payload["errorMessage"]
        printed = base64.b64decode(answer["LogResult"])
    payload, _ = caller.call(name)
    while "timed out" in payload.get("errorMessage", "") and time.monotonic() < until:  # likewise
        payload, _ = caller.call(name)
    assert payload["count"] == 1


def test_the_log_tail_is_the_last_four_kilobytes(caller: Any, faulty: str) -> None:
    _, answer = caller.call(faulty, {"do": "print"}, LogType="Tail")
    log = base64.b64decode(answer["LogResult"])
    assert len(log) == 4096
    assert b"xtail\nEND RequestId: " in log
    assert b"\nREPORT RequestId: " in log
    assert "LogResult" not in caller.call(faulty)[1]


def test_the_context_tells_the_time_that_is_left(caller: Any, faulty: str) -> None:
    payload, answer = caller.call(faulty)
    assert 30_000 < payload["left"] <= 60_000
    assert payload["id"] == answer["ResponseMetadata"]["RequestId"]


def test_a_dry_run_runs_nothing(caller: Any, ear: Ear) -> None:
    _, answer = caller.call(caller.make(MARKS), {"port": ear.port}, InvocationType="DryRun")
    assert answer["StatusCode"] == 204
    assert ear.hear(0.2) is None


def test_a_failing_event_runs_three_times_under_one_id(caller: Any, ear: Ear) -> None:
    _, sent = caller.call(caller.make(MARKS), {"port": ear.port, "fail": True}, InvocationType="Event")
    assert sent["StatusCode"] == 202
    (one, first), (two, second), (three, third) = ear.heard(3)
    assert {one, two, three} == {sent["ResponseMetadata"]["RequestId"]}
    assert second - first >= 0.09
    assert third - second >= 0.19
    assert ear.hear(0.35) is None


def test_no_retries_means_that_a_failing_event_runs_once(caller: Any, ear: Ear) -> None:
    name = caller.make(MARKS)
    caller.client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    caller.call(name, {"port": ear.port, "fail": True}, InvocationType="Event")
    assert ear.hear() is not None
    assert ear.hear(0.25) is None


def test_a_throttled_event_waits_its_turn(caller: Any, ear: Ear) -> None:
    name = caller.make(MARKS)
    caller.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    for _ in range(3):
        caller.call(name, {"port": ear.port, "for": 0.2}, InvocationType="Event")
    moments = [moment for _, moment in ear.heard(3)]
    assert all(later - earlier >= 0.19 for earlier, later in pairwise(moments))
    caller.client.delete_function_concurrency(FunctionName=name)


def test_reserved_concurrency_throttles_with_its_reason(caller: Any) -> None:
    name = caller.make(HELD)
    caller.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    assert caller.client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 1
    with socket.create_server(("127.0.0.1", 0)) as held:
        held.settimeout(LIMIT)
        event = {"port": held.getsockname()[1]}
        caller.call(name, event, InvocationType="Event")
        with held.accept()[0], refused("TooManyRequestsException", 429) as answer:
            caller.call(name, event)
    assert answer["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    caller.client.delete_function_concurrency(FunctionName=name)


def test_too_many_at_once_are_throttled(caller: Any) -> None:
    name, other = caller.make(HELD), caller.make(HELD)
    caller.client.put_function_concurrency(FunctionName=other, ReservedConcurrentExecutions=16)
    throttled: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as held, ThreadPoolExecutor(8) as threads:
        event = {"port": held.getsockname()[1]}

        def call(_: int) -> str:
            try:
                caller.call(name, event)
            except caller.client.exceptions.TooManyRequestsException as error:
                throttled.append(str(error.response["Reason"]))
                return throttled[-1]
            return "served"

        calls = [threads.submit(call, number) for number in range(8)]
        lines, end = [], time.monotonic() + LIMIT
        held.settimeout(0.02)
        while len(lines) + len(throttled) < len(calls) and time.monotonic() < end:
            with suppress(TimeoutError):
                lines.append(held.accept()[0])
        for line in lines:
            line.close()
        answers = [each.result() for each in calls]
    caller.client.delete_function_concurrency(FunctionName=other)
    # What an earlier test left under way counts too.
    assert 1 <= answers.count("served") <= 4
    assert set(answers) == {"served", "ConcurrentInvocationLimitExceeded"}


def test_what_is_too_large_is_refused(caller: Any) -> None:
    name = caller.make("def handler(event, context):\n    return len(event)\n")
    whole = (6 << 20) - 2
    assert caller.call(name, "x" * whole)[0] == whole
    with refused("RequestTooLargeException", 413):
        caller.call(name, "x" * (whole + 1))
    whole = (1 << 20) - 2
    assert caller.call(name, "x" * whole, InvocationType="Event")[1]["StatusCode"] == 202
    with refused("RequestTooLargeException", 413):
        caller.call(name, "x" * (whole + 1), InvocationType="Event")
    with refused("InvalidRequestContentException", 400):
        caller.client.invoke(FunctionName=name, Payload=b"{")


def test_a_function_that_is_not_there_is_not_found(caller: Any) -> None:
    for kind in ("RequestResponse", "Event", "DryRun"):
        with refused("ResourceNotFoundException", 404):
            caller.client.invoke(FunctionName="nothing", InvocationType=kind)


@pytest.mark.parametrize("token", [None, "a/token+with=all"])
@pytest.mark.parametrize("presign", [False, True], ids=["header", "presigned"])
def test_a_wrong_secret_and_a_skewed_clock_are_refused(caller: Any, presign: bool, token: str | None) -> None:
    def listed(secret: str, skew: timedelta = timedelta()) -> str:
        class Signer(SigV4QueryAuth if presign else SigV4Auth):  # type: ignore[misc]
            def _modify_request_before_signing(self, request: AWSRequest) -> None:
                request.context["timestamp"] = (datetime.now(UTC) + skew).strftime("%Y%m%dT%H%M%SZ")
                super()._modify_request_before_signing(request)

        request = AWSRequest("GET", f"{caller.stack.lambda_endpoint}/2015-03-31/functions/")
        Signer(Credentials(caller.stack.access_key, secret, token), "lambda", "us-east-1").add_auth(request)
        made = request.prepare()
        headers = {name: v.decode() if isinstance(v, bytes) else v for name, v in made.headers.items()}
        try:
            with urlopen(Request(made.url, headers=headers)) as answer:
                return f"{answer.status}"
        except HTTPError as error:
            error.close()
            return f"{error.code} {error.headers['x-amzn-ErrorType']}"

    secret = caller.stack.secret_key
    refusal = "403 InvalidSignatureException"
    # What is presigned holds for its hour.
    slow = timedelta(minutes=62 if presign else 16)
    assert [listed(secret), listed("wrong")] == ["200", refusal]
    assert [listed(secret, skew) for skew in (-slow, timedelta(minutes=16))] == [refusal, refusal]


def test_a_wrong_secret_is_refused_to_the_sdk(one: Any, connector: Callable[..., Any]) -> None:
    for more in ({}, {"aws_session_token": "token"}):
        client = connector(one.stack, "lambda", aws_secret_access_key="wrong", **more)
        with refused("InvalidSignatureException", 403):
            client.list_functions()
        client.close()
    client = connector(one.stack, "lambda", aws_session_token="token")
    client.list_functions()
    client.close()


def test_a_bucket_with_objects_is_not_removed(one: Any, connector: Callable[..., Any]) -> None:
    s3 = connector(one.stack, "s3")
    s3.create_bucket(Bucket="full")
    for key in ("one", "a/b/c"):
        s3.put_object(Bucket="full", Key=key, Body=b"kept")
        with refused("BucketNotEmpty", 409):
            s3.delete_bucket(Bucket="full")
        with closing(s3.get_object(Bucket="full", Key=key)["Body"]) as body:
            assert body.read() == b"kept"
        s3.delete_object(Bucket="full", Key=key)
    s3.delete_bucket(Bucket="full")
    s3.close()


def test_the_s3_takes_our_keys_only(one: Any, connector: Callable[..., Any]) -> None:
    s3 = connector(one.stack, "s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="a key/\u00e9+", Body=b"body")
    with closing(s3.get_object(Bucket="bucket", Key="a key/\u00e9+")["Body"]) as body:
        assert body.read() == b"body"
    s3.close()
    stranger = connector(one.stack, "s3", aws_secret_access_key="wrong")
    with refused("SignatureDoesNotMatch", 403):
        stranger.list_buckets()
    stranger.close()


def test_the_s3_that_is_kept_in_memory_serves_where_the_other_is_not(
    stacks: dict[str, Any], connector: Callable[..., Any]
) -> None:
    if "user" not in stacks:
        pytest.skip("this machine can have no stack of an ordinary user's")
    s3 = connector(stacks["user"].stack, "s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="a key/\u00e9+", Body=b"body")
    with closing(s3.get_object(Bucket="bucket", Key="a key/\u00e9+", Range="bytes=1-2")["Body"]) as body:
        assert body.read() == b"od"
    s3.close()
    assert "S3 (moto) answers" in (stacks["user"].state_dir / "local.log").read_text()


def test_an_event_that_waited_for_a_reservation_runs_once_it_is_lifted(caller: Any, ear: Ear) -> None:
    name = caller.make(MARKS)
    caller.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    caller.call(name, {"port": ear.port}, InvocationType="Event")
    assert ear.hear(0.1) is None
    caller.client.delete_function_concurrency(FunctionName=name)
    assert ear.hear() is not None


@pytest.mark.parametrize("caller", ["user"], indirect=True)
def test_a_failing_event_is_given_up_that_would_be_too_old_at_its_next_try(
    caller: Any, stacks: dict[str, Any], ear: Ear
) -> None:
    ends = {}
    for age in (60, 21600):
        name = caller.make(MARKS)
        caller.client.put_function_event_invoke_config(FunctionName=name, MaximumEventAgeInSeconds=age)
        _, sent = caller.call(name, {"port": ear.port, "fail": True}, InvocationType="Event")
        assert ear.hear() is not None
        ends[age] = sent["ResponseMetadata"]["RequestId"]

    def said(request: str) -> str:
        lines = (stacks["user"].state_dir / "local.log").read_text().splitlines()
        return next((line for line in lines if f"event {request} " in line and "failed at try 1" in line), "")

    end = time.monotonic() + LIMIT
    while not all(said(request) for request in ends.values()):
        assert time.monotonic() < end, "the stack did not say what became of the events"
        time.sleep(0.01)
    assert said(ends[60]).endswith("; it was the last try")
    assert said(ends[21600]).endswith("; it will be tried again")


@pytest.mark.long
def test_an_event_that_grew_too_old_while_it_waited_never_runs(caller: Any, ear: Ear) -> None:
    name = caller.make(MARKS)
    caller.client.put_function_event_invoke_config(FunctionName=name, MaximumEventAgeInSeconds=60)
    caller.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    caller.call(name, {"port": ear.port}, InvocationType="Event")
    assert ear.hear(62.0) is None
    caller.client.delete_function_concurrency(FunctionName=name)
    assert ear.hear(1.0) is None
    caller.call(name, {"port": ear.port}, InvocationType="Event")
    assert ear.hear() is not None


def test_a_function_is_made_listed_shown_changed_and_deleted(one: Any, package: Callable[..., bytes]) -> None:
    client, name = (
        one.client,
        one.make(ECHO, Description="first", MemorySize=256, Environment={"Variables": {"AB": "c"}}),
    )
    assert name in [found["FunctionName"] for found in client.list_functions()["Functions"]]
    shown = client.get_function(FunctionName=name)
    assert shown["Configuration"]["State"] == "Active"
    assert (shown["Configuration"]["MemorySize"], shown["Configuration"]["Description"]) == (256, "first")
    with urlopen(shown["Code"]["Location"]) as answer:
        assert answer.read() == package(m=ECHO)
    arn = shown["Configuration"]["FunctionArn"]
    assert client.get_function_configuration(FunctionName=arn)["Environment"] == {"Variables": {"AB": "c"}}
    client.update_function_configuration(FunctionName=name, Timeout=9)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert client.get_function_configuration(FunctionName=name)["Timeout"] == 9
    assert one.call(name, {"a": 1})[0] == {"a": 1}
    client.update_function_code(FunctionName=name, ZipFile=package(m="def handler(e, c):\n    return 'new'\n"))
    assert one.call(name)[0] == "new"
    client.delete_function(FunctionName=name)
    for call in (client.get_function, client.delete_function, client.invoke, client.get_function_configuration):
        with refused("ResourceNotFoundException", 404):
            call(FunctionName=name)


def test_code_can_come_from_the_s3(one: Any, connector: Callable[..., Any], package: Callable[..., bytes]) -> None:
    s3 = connector(one.stack, "s3")
    s3.create_bucket(Bucket="packages")
    s3.put_object(Bucket="packages", Key="p.zip", Body=package(m="def handler(e, c):\n    return 's3'\n"))
    s3.close()
    name = one.make(ECHO)
    one.client.update_function_code(FunctionName=name, S3Bucket="packages", S3Key="p.zip")
    assert one.call(name)[0] == "s3"
    with refused("InvalidParameterValueException", 400):
        one.client.update_function_code(FunctionName=name, S3Bucket="packages", S3Key="none.zip")


def test_many_functions_are_listed_in_pages(one: Any) -> None:
    names = {one.make(ECHO) for _ in range(3)}
    pages = list(one.client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2}))
    assert len(pages) > 1
    assert names <= {found["FunctionName"] for page in pages for found in page["Functions"]}


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"Runtime": "nodejs20.x"}, "InvalidParameterValueException"),
        ({"Timeout": 5401}, "ValidationException"),
        ({"Role": "nobody"}, "ValidationException"),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "InvalidParameterValueException"),
        ({"Code": {"ZipFile": b"no zip"}}, "InvalidParameterValueException"),
        ({"Code": {}}, "InvalidParameterValueException"),
    ],
)
def test_a_bad_parameter_is_refused(
    one: Any, package: Callable[..., bytes], settings: dict[str, Any], code: str
) -> None:
    request = {
        "FunctionName": "bad",
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Handler": "m.handler",
        "Code": {"ZipFile": package(m=ECHO)},
    }
    with refused(code, 400):
        one.client.create_function(**{**request, **settings})


def test_a_name_is_taken_once(one: Any, package: Callable[..., bytes]) -> None:
    name = one.make(ECHO)
    with refused("ResourceConflictException", 409):
        one.client.create_function(
            FunctionName=name,
            Runtime="python3.12",
            Role="arn:aws:iam::000000000000:role/any",
            Handler="m.handler",
            Code={"ZipFile": package(m=ECHO)},
        )


def test_the_event_invoke_configuration_is_kept(one: Any) -> None:
    name = one.make(ECHO)
    with refused("ResourceNotFoundException", 404):
        one.client.get_function_event_invoke_config(FunctionName=name)
    one.client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1, MaximumEventAgeInSeconds=60)
    one.client.update_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=2)
    shown = one.client.get_function_event_invoke_config(FunctionName=name)
    assert (shown["MaximumRetryAttempts"], shown["MaximumEventAgeInSeconds"]) == (2, 60)
    one.client.delete_function_event_invoke_config(FunctionName=name)


@pytest.mark.parametrize("what", ["encrypted", "corrupt deflated data", "file and directory", "a link that is no text"])
def test_a_refused_package_leaves_a_function_that_answers(one: Any, what: str) -> None:
    name = one.make("def handler(event, context):\n    return 1\n")
    with refused("InvalidParameterValueException", 400):
        one.client.update_function_code(FunctionName=name, ZipFile=BROKEN[what])
    assert one.call(name)[0] == 1
