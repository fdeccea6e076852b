"""Functions made, listed and removed, in a Lambda that others have written (moto), by botocore's own rules."""

import hashlib
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from mu_twisted.aws import (
    AwsControl,
    AWSError,
    Clients,
    FunctionChanges,
    Functions,
    FunctionSpec,
    aws_session,
    build_package,
    parse_image,
)
from mu_twisted.aws._function_settings import HANDLER
from mu_twisted.aws.findings import Health, judge_function
from mu_twisted.aws.inspection import Inspection

REGION = "eu-west-1"


@pytest.fixture
def clients(moto: None) -> Clients:
    return Clients(aws_session(), REGION)


@pytest.fixture
def role(moto: None) -> str:
    trust = '{"Version": "2012-10-17", "Statement": []}'
    made = boto3.client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument=trust)
    return str(made["Role"]["Arn"])


PACKAGE = build_package([], b"true")


def test_a_function_is_made_as_it_was_asked_for(clients: Clients, role: str) -> None:
    spec = FunctionSpec(
        name="fib",
        role=role,
        memory_mb=3008,
        timeout=timedelta(seconds=77),
        architecture="arm64",
        tmp_mb=2048,
        description="fib",
    )
    made = Functions(clients).create(spec, PACKAGE)
    assert made["CodeSize"] == len(PACKAGE)
    assert "ResponseMetadata" not in made
    known = clients.awslambda.get_function(FunctionName="fib")
    found = known["Configuration"]
    assert (found["MemorySize"], found["Timeout"], found["Architectures"]) == (3008, 77, ["arm64"])
    assert (found["EphemeralStorage"], found["Runtime"], found["Role"]) == ({"Size": 2048}, "python3.13", role)
    assert list(known["Tags"]) == ["mu-twisted"]
    events = clients.awslambda.get_function_event_invoke_config(FunctionName="fib")
    assert (events["MaximumRetryAttempts"], events["MaximumEventAgeInSeconds"]) == (0, 60)


def test_what_mu_made_is_known_by_its_tag_and_nothing_else_is_shown(clients: Clients, role: str) -> None:
    functions = Functions(clients)
    assert functions.list() == []
    for name in ("b", "a"):
        functions.create(FunctionSpec(name=name, role=role), PACKAGE)
    for name, handler in (("alike", "worker_lambda.lambda_function.lambda_handler"), ("other", "m.h")):
        clients.awslambda.create_function(
            FunctionName=name, Runtime="python3.13", Role=role, Handler=handler, Code={"ZipFile": PACKAGE}
        )
    assert [function["FunctionName"] for function in functions.list()] == ["a", "b"]
    functions.remove("a")
    assert [function["FunctionName"] for function in functions.list()] == ["b"]
    with pytest.raises(AWSError, match="cannot remove function a in eu-west-1: ResourceNotFoundException"):
        functions.remove("a")


def test_a_large_package_goes_through_s3_and_does_not_stay_there(clients: Clients, role: str) -> None:
    functions = Functions(clients, direct=len(PACKAGE) - 1)
    with pytest.raises(AWSError, match="--code-bucket"):
        functions.create(FunctionSpec(name="big", role=role), PACKAGE)
    clients.s3.create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": REGION})
    requests: list[dict[str, Any]] = []
    clients.awslambda.meta.events.register(
        "provide-client-params.lambda.CreateFunction", lambda params, **_: requests.append(params["Code"])
    )
    made = functions.create(FunctionSpec(name="big", role=role), PACKAGE, bucket="code")
    assert made["CodeSize"] == len(PACKAGE)
    key = f"mu-twisted/{hashlib.sha256(PACKAGE).hexdigest()}.zip"
    assert requests == [{"S3Bucket": "code", "S3Key": key}]
    assert "Contents" not in clients.s3.list_objects_v2(Bucket="code")
    small = Functions(clients)
    small.create(FunctionSpec(name="small", role=role), PACKAGE, bucket="code")
    assert requests[1] == {"ZipFile": PACKAGE}


def failing(clients: Clients, operation: str, times: int, code: str, message: str = "no") -> None:
    """Have the next calls of this operation fail, as if Lambda had said so."""
    left = [times]

    def fail(**_: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise ClientError({"Error": {"Code": code, "Message": message}}, operation)

    clients.awslambda.meta.events.register(f"before-call.lambda.{operation}", fail)


def test_a_role_that_was_just_made_is_waited_for(clients: Clients, role: str) -> None:
    slept: list[float] = []
    failing(
        clients,
        "CreateFunction",
        2,
        "InvalidParameterValueException",
        "The role defined for the function cannot be assumed by Lambda.",
    )
    Functions(clients, sleep=slept.append).create(FunctionSpec(name="f", role=role), PACKAGE)
    assert len(slept) == 2


def test_a_role_that_never_is_known_is_an_error_in_the_end(clients: Clients, role: str) -> None:
    slept: list[float] = []
    failing(clients, "CreateFunction", 99, "InvalidParameterValueException", "the role cannot be assumed")
    with pytest.raises(AWSError, match="cannot be assumed"):
        Functions(clients, sleep=slept.append).create(FunctionSpec(name="f", role=role), PACKAGE)
    assert 20 < sum(slept) < 60


def test_a_function_that_cannot_be_set_up_does_not_stay(clients: Clients, role: str) -> None:
    failing(clients, "PutFunctionEventInvokeConfig", 1, "AccessDeniedException")
    with pytest.raises(AWSError, match="cannot set up function f in eu-west-1: access denied"):
        Functions(clients).create(FunctionSpec(name="f", role=role), PACKAGE)
    assert clients.awslambda.list_functions()["Functions"] == []


@pytest.mark.parametrize(
    ("change", "text"),
    [({"memory_mb": 1}, "MemorySize"), ({"tmp_mb": 1}, "Size"), ({"timeout": timedelta(0)}, "Timeout")],
)
def test_what_botocore_refuses_is_one_line(clients: Clients, role: str, change: dict[str, Any], text: str) -> None:
    with pytest.raises(AWSError, match=text) as caught:
        Functions(clients).create(FunctionSpec(name="f", role=role, **change), PACKAGE)
    assert "\n" not in str(caught.value)


# -- replaced --------------------------------------------------------------------------------------------------------

OTHER = build_package([], b"false")


def test_a_function_that_is_there_is_told_with_what_to_do(clients: Clients, role: str) -> None:
    functions = Functions(clients)
    functions.create(FunctionSpec(name="f", role=role), PACKAGE)
    with pytest.raises(AWSError, match=r"there is a function f in eu-west-1 already: --replace .* another --name$"):
        functions.create(FunctionSpec(name="f", role=role), OTHER)


def test_a_function_gets_other_code_and_given_settings_and_keeps_the_others(clients: Clients, role: str) -> None:
    functions = Functions(clients)
    before = functions.create(FunctionSpec(name="f", role=role, memory_mb=3008, tmp_mb=2048, description="d"), PACKAGE)
    made = functions.replace("f", OTHER, FunctionChanges(timeout=timedelta(seconds=77)))
    assert made["CodeSha256"] != before["CodeSha256"]
    found = functions.find("f")
    assert found is not None
    assert (found["CodeSha256"], found["Timeout"]) == (made["CodeSha256"], 77)
    assert (found["MemorySize"], found["EphemeralStorage"], found["Description"]) == (3008, {"Size": 2048}, "d")
    events = clients.awslambda.get_function_event_invoke_config(FunctionName="f")
    assert (events["MaximumRetryAttempts"], events["MaximumEventAgeInSeconds"]) == (0, 60)


def test_what_mu_has_not_made_is_not_replaced(clients: Clients, role: str) -> None:
    assert Functions(clients).find("precious") is None
    clients.awslambda.create_function(
        FunctionName="precious", Runtime="python3.13", Role=role, Handler="m.h", Code={"ZipFile": PACKAGE}
    )
    with pytest.raises(AWSError, match="precious in eu-west-1 is not one that mu has made: choose another --name"):
        Functions(clients).find("precious")


def told(clients: Clients, states: list[dict[str, str]]) -> None:
    """Have Lambda say this of the function, the one after the other, and then that all is well."""

    def say(parsed: dict[str, Any], **_: Any) -> None:
        parsed["Configuration"] |= states.pop(0) if states else {"State": "Active", "LastUpdateStatus": "Successful"}

    clients.awslambda.meta.events.register("after-call.lambda.GetFunction", say)


def test_an_update_in_progress_is_waited_for_before_and_after(clients: Clients, role: str) -> None:
    slept: list[float] = []
    functions = Functions(clients, sleep=slept.append)
    functions.create(FunctionSpec(name="f", role=role), PACKAGE)
    busy, done = {"LastUpdateStatus": "InProgress"}, {"LastUpdateStatus": "Successful"}
    told(clients, [busy, busy, done, {"State": "Pending"}, done, busy, done])
    failing(clients, "UpdateFunctionCode", 2, "ResourceConflictException", "An update is in progress")
    failing(clients, "UpdateFunctionConfiguration", 1, "ResourceConflictException", "An update is in progress")
    functions.replace("f", OTHER, FunctionChanges(memory_mb=512))
    assert slept == [1.0] * 7
    found = functions.find("f")
    assert found is not None
    assert (found["MemorySize"], found["CodeSize"]) == (512, len(OTHER))


def test_an_update_that_never_ends_and_one_that_fails_are_told(clients: Clients, role: str) -> None:
    slept: list[float] = []
    functions = Functions(clients, sleep=slept.append)
    functions.create(FunctionSpec(name="f", role=role), PACKAGE)
    told(clients, [{}, {"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "The role\nis gone"}])
    with pytest.raises(AWSError, match=r"could not update function f .*, which runs as before: The role is gone$"):
        functions.replace("f", OTHER, FunctionChanges())
    told(clients, [{"LastUpdateStatus": "InProgress"}] * 1000)
    with pytest.raises(AWSError, match="is being updated: try again when that is done"):
        functions.replace("f", OTHER, FunctionChanges())
    assert 60 < sum(slept) < 300


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ("UpdateFunctionCode", "cannot replace the code of function f in eu-west-1: access denied"),
        (
            "UpdateFunctionConfiguration",
            "cannot change the settings of function f in eu-west-1, which has the new",
        ),
        (
            "PutFunctionEventInvokeConfig",
            "cannot change the settings of function f in eu-west-1, which has the new",
        ),
    ],
)
def test_a_refused_replacement_says_how_far_it_came_and_removes_nothing(
    clients: Clients, role: str, operation: str, text: str
) -> None:
    functions = Functions(clients)
    functions.create(FunctionSpec(name="f", role=role), PACKAGE)
    failing(clients, operation, 1, "AccessDeniedException")
    with pytest.raises(AWSError, match=text):
        functions.replace("f", OTHER, FunctionChanges(memory_mb=512))
    found = functions.find("f")
    assert found is not None
    assert (found["CodeSize"] == len(OTHER)) == (operation != "UpdateFunctionCode")


IMAGE = parse_image(f"123456789012.dkr.ecr.{REGION}.amazonaws.com/encoder:1", REGION)


def test_a_function_of_an_image_has_our_handler_as_its_command(clients: Clients, role: str) -> None:
    functions = Functions(clients)
    functions.create(FunctionSpec(name="fib", role=role, tmp_mb=2048), IMAGE)
    known = clients.awslambda.get_function(FunctionName="fib")
    assert known["Code"]["ImageUri"] == IMAGE.uri
    found = known["Configuration"]
    assert found["PackageType"] == "Image"
    assert found["ImageConfigResponse"]["ImageConfig"]["Command"] == [HANDLER]
    assert not {"Runtime", "Handler"} & {key for key, value in found.items() if value}
    assert functions.find("fib") is not None
    assert [each["FunctionName"] for each in functions.list()] == ["fib"]


def test_an_image_of_another_command_is_not_ours(clients: Clients, role: str) -> None:
    for name, config in (("other", {"Command": ["m.h"]}), ("none", None)):
        more: dict[str, Any] = {} if config is None else {"ImageConfig": config}
        clients.awslambda.create_function(
            FunctionName=name, PackageType="Image", Role=role, Code={"ImageUri": IMAGE.uri}, **more
        )
        with pytest.raises(AWSError, match="is not one that mu has made"):
            Functions(clients).find(name)
    assert Functions(clients).list() == []


class Recorded:
    """A Lambda client that answers by botocore's own stubber, which checks requests against Lambda's model."""

    def __init__(self, clients: Clients) -> None:
        self.stubber = Stubber(clients.awslambda)

    def function(self, **more: Any) -> None:
        configuration = {"FunctionName": "fib", "State": "Active", "FunctionArn": ARN, **more}
        self.stubber.add_response("get_function", {"Configuration": configuration}, {"FunctionName": "fib"})


ARN = f"arn:aws:lambda:{REGION}:123456789012:function:fib"
OF_IMAGE = {"PackageType": "Image", "ImageConfigResponse": {"ImageConfig": {"Command": [HANDLER]}}}


def test_an_image_is_replaced_by_another(clients: Clients) -> None:
    lambda_ = Recorded(clients)
    lambda_.function(**OF_IMAGE)
    lambda_.stubber.add_response(
        "update_function_code", {}, {"FunctionName": "fib", "ImageUri": IMAGE.uri, "Architectures": ["arm64"]}
    )
    lambda_.function(**OF_IMAGE, LastUpdateStatus="InProgress")
    lambda_.function(**OF_IMAGE)
    lambda_.stubber.add_response(
        "update_function_configuration", {}, {"FunctionName": "fib", "MemorySize": 512, "Description": IMAGE.uri}
    )
    lambda_.function(**OF_IMAGE)
    lambda_.function(**OF_IMAGE)
    events = {"FunctionName": "fib", "MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    lambda_.stubber.add_response("put_function_event_invoke_config", {}, events)
    lambda_.function(**OF_IMAGE)
    lambda_.stubber.add_response("tag_resource", {}, {"Resource": ARN, "Tags": {"mu-twisted": ANY}})
    changes = FunctionChanges(memory_mb=512, architecture="arm64", description=IMAGE.uri)
    with lambda_.stubber:
        Functions(clients, sleep=lambda _: None).replace("fib", IMAGE, changes)
    lambda_.stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("before", "code", "text"),
    [
        (OF_IMAGE, PACKAGE, "is made of an image, and Lambda cannot change that to a zip"),
        ({"Handler": HANDLER}, IMAGE, "is made of a zip, and Lambda cannot change that to an image"),
        ({"Handler": HANDLER, "PackageType": "Zip"}, IMAGE, "is made of a zip"),
    ],
)
def test_a_zip_does_not_become_an_image_nor_the_reverse(
    clients: Clients, before: dict[str, Any], code: Any, text: str
) -> None:
    lambda_ = Recorded(clients)
    lambda_.function(**before)
    with lambda_.stubber, pytest.raises(AWSError, match=text):
        Functions(clients).replace("fib", code, FunctionChanges())


def test_an_images_files_are_not_looked_for(clients: Clients, role: str) -> None:
    Functions(clients).create(FunctionSpec(name="fib", role=role), IMAGE)
    assert AwsControl(Clients(aws_session(), REGION)).missing_programs("fib", ["./ffmpeg"]) == []
    state = Inspection(clients).function("fib")
    assert state is not None
    assert state.is_image
    judged = list(judge_function(state, 1))
    assert judged[0].what == f"function fib in {REGION}: 1536 MB, 180 s, x86_64, an image"
    assert {finding.health for finding in judged} == {Health.GOOD}
