"""The policies against what the code asks for: every call that it makes is recorded, none missing, none superfluous."""

import ast
import fnmatch
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from mu_twisted.aws import (
    AwsControl,
    AWSError,
    Clients,
    FunctionChanges,
    Functions,
    FunctionSpec,
    aws_session,
    build_package,
)
from mu_twisted.aws.inspection import Inspection
from mu_twisted.aws.policies import Policy, Scope, coordinator_policy, function_policy, operator_policy, trust_policy
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.daemons._cloud import Cloud

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT, REGION = "123456789012", "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
SCOPE = Scope(ACCOUNT, [REGION], ["f"], ["mine/in/", "mine/out"], ROLE, "code-{region}")

Wanted = tuple[str, str]
"""An action and the resource that it is about."""


def wanted_of(operation: str, request: dict[str, Any]) -> list[Wanted]:
    """What IAM wants for a call (Service Authorization Reference: Lambda, S3)."""
    service, name = operation.split(".")
    if service == "sts":
        return []  # GetCallerIdentity needs no permission
    if service == "s3":
        bucket = f"arn:aws:s3:::{request['Bucket']}"
        if name in ("HeadBucket", "ListObjectsV2"):
            return [("s3:ListBucket", bucket)]
        return [(f"s3:{name}", f"{bucket}/{request['Key']}")]
    function = request.get("FunctionName") or request.get("Resource", "")
    arn = function if function.startswith("arn:") else f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"
    if name in ("ListFunctions", "GetAccountSettings"):
        return [(f"lambda:{name}", "*")]
    wanted = [("lambda:InvokeFunction" if name == "Invoke" else f"lambda:{name}", arn)]
    if name == "CreateFunction":
        wanted += [("lambda:TagResource", arn)] if request.get("Tags") else []
        wanted += [("iam:PassRole", request["Role"])]
        code = request["Code"]
        # Lambda fetches the package with the rights of the caller that creates the function.
        wanted += [("s3:GetObject", f"arn:aws:s3:::{code['S3Bucket']}/{code['S3Key']}")] if "S3Key" in code else []
    return wanted


def allows(policy: Policy, action: str, resource: str) -> bool:
    return any(
        action in statement["Action"] and any(fnmatch.fnmatchcase(resource, known) for known in statement["Resource"])
        for statement in policy["Statement"]
    )


def actions_of(policy: Policy) -> set[str]:
    return {action for statement in policy["Statement"] for action in statement["Action"]}


class Recorder:
    """A boto3 session whose calls are noted."""

    def __init__(self) -> None:
        self.session = aws_session()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.session.events.register("provide-client-params.*.*", self._note)

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        service = model.service_model.service_name
        self.calls.append((f"{service}.{model.name}", dict(params)))

    def refuse_from_now_on(self) -> None:
        """Calls of clients that are made now go no further than botocore."""

        def refuse(**_: Any) -> None:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "any")

        self.session.events.register("before-call.*.*", refuse)

    def check(self, policy: Policy, *others: Wanted) -> None:
        """Each call is allowed, and each thing that is allowed was needed."""
        wanted = [pair for call in self.calls for pair in wanted_of(*call)] + list(others)
        assert [pair for pair in wanted if not allows(policy, *pair)] == []
        assert {action for action, _ in wanted} == actions_of(policy)


@pytest.fixture
def recorder(moto: None) -> Recorder:
    boto3.client("iam").create_role(
        RoleName="worker", AssumeRolePolicyDocument=json.dumps(trust_policy("lambda.amazonaws.com"))
    )
    for bucket in ("mine", "code-us-east-1"):
        boto3.client("s3", region_name=REGION).create_bucket(Bucket=bucket)
    return Recorder()


PACKAGE = build_package([], b"true")


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def public_methods(kind: type) -> set[str]:
    return {name for name, value in vars(kind).items() if not name.startswith("_") and callable(value)}


def test_the_operator_may_do_what_lambdaize_and_functions_ask_for_and_nothing_else(recorder: Recorder) -> None:
    clients = Clients(recorder.session, REGION)
    Functions(clients).create(FunctionSpec(name="f", role=ROLE), PACKAGE)
    assert [each["FunctionName"] for each in Functions(clients).list()] == ["f"]
    assert Functions(clients).find("f") is not None
    Functions(clients).replace("f", PACKAGE, FunctionChanges(memory_mb=512, role=ROLE))
    Functions(clients).wait_until_ready("f")
    days = [today()]
    Functions(clients).note_use("f")
    days.append(today())  # another one where it was midnight meanwhile
    assert Functions(clients).last_use(Functions(clients).list()[0]) in days
    Functions(clients).remove("f")
    Functions(clients, direct=0).create(FunctionSpec(name="f", role=ROLE), PACKAGE, bucket="code-us-east-1")
    called = {"create", "find", "last_use", "list", "note_use", "remove", "replace", "wait_until_ready"}
    assert public_methods(Functions) == called
    recorder.check(operator_policy(SCOPE))


def test_the_coordinator_may_do_what_jobs_and_the_doctor_ask_for_and_nothing_else(
    recorder: Recorder,
) -> None:
    made = Clients(aws_session(AccessKeys("A", "B")), REGION)
    Functions(made).create(FunctionSpec(name="f", role=ROLE), PACKAGE)
    cloud = Cloud(recorder.session, lambda region: f"https://lambda.{region}.amazonaws.com", None)
    cloud.check([REGION], "f", "mine", [])
    with pytest.raises(AWSError):
        cloud.check([REGION], "f", "mine", ["xc-enc"])  # looks for the package, which moto does not hand out
    assert cloud.existing(REGION, "mine", {"out/1"}) == set()
    inspection = Inspection(Clients(recorder.session, REGION))
    inspection.caller()
    assert inspection.function("f") is not None
    assert inspection.bucket_region("mine") == REGION
    assert public_methods(Inspection) == {"caller", "function", "bucket_region", "concurrency"}
    recorder.refuse_from_now_on()  # what moto does not have, or would want Docker for
    with pytest.raises(AWSError, match="denied"):
        Inspection(Clients(recorder.session, REGION)).concurrency()
    with pytest.raises(AWSError, match="denied"):
        cloud.invoke_with_tail(REGION, "f", b"{}")
    launched = ("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")
    recorder.check(coordinator_policy(SCOPE), launched)


def test_the_daemons_make_no_call_that_is_not_tested_here() -> None:
    """Control also has what demonstrations and tests make their buckets with; daemons use none of that."""
    called = set()
    for path in (ROOT / "mu_twisted" / "daemons").glob("*.py"):
        called |= set(re.findall(r"\b(?:control|_control\(\w+\)|_control\(regions\[0\]\))\.(\w+)\(", path.read_text()))
    known = {"function_settings", "missing_programs", "check_bucket", "existing", "invoke_with_tail"}
    known |= {"get_part"}  # looks at a film before anything is launched, where the coordinator may read it
    assert called <= known
    assert {"create_bucket", "put_object", "get_object", "create_function"} == public_methods(AwsControl) - called


ASKED_OF_S3 = {
    "GET": "s3:GetObject",
    "HEAD": "s3:GetObject",
    "PUT": "s3:PutObject",
    "POST": "s3:PutObject",
    "DELETE": "s3:AbortMultipartUpload",
}
"""What the worker's requests want; each is about an object, POST begins and ends an upload of parts."""


def test_a_function_may_do_what_workers_ask_of_s3_and_nothing_else_but_log() -> None:
    methods = set()
    for path in (ROOT / "worker_lambda").glob("s3/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in {*ASKED_OF_S3, "OPTIONS", "PATCH"}:
                methods.add(str(node.value))
    assert methods == set(ASKED_OF_S3)
    policy = function_policy(SCOPE)
    assert actions_of(policy) == {
        *ASKED_OF_S3.values(),
        *("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),  # Lambda's own, in the role's name
    }
    for action in ASKED_OF_S3.values():
        assert allows(policy, action, "arn:aws:s3:::mine/in/00000000.png")
        assert allows(policy, action, "arn:aws:s3:::mine/output.y4m")
        assert not allows(policy, action, "arn:aws:s3:::mine/other")
        assert not allows(policy, action, "arn:aws:s3:::yours/in/00000000.png")
    assert allows(policy, "logs:PutLogEvents", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/f:log-stream:x")


def test_other_functions_are_not_allowed() -> None:
    other = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:other"
    for policy in (coordinator_policy(SCOPE), operator_policy(SCOPE)):
        for action in actions_of(policy) - {"lambda:ListFunctions", "lambda:GetAccountSettings"}:
            assert not allows(policy, action, other)
    [pass_role] = [each for each in operator_policy(SCOPE)["Statement"] if each["Action"] == ["iam:PassRole"]]
    assert pass_role["Resource"] == [ROLE]
    assert pass_role["Condition"] == {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
@pytest.mark.parametrize("make", [function_policy, coordinator_policy, operator_policy])
def test_each_partition_has_names_of_its_own(make: Callable[[Scope], Policy], region: str, partition: str) -> None:
    text = json.dumps(make(Scope(ACCOUNT, [region], ["f"], ["mine"], "worker", "code")))
    arns = re.findall(r"arn:([a-z-]+):", text)
    assert len(arns) > 1
    assert set(arns) == {partition}


def test_regions_of_two_partitions_are_refused() -> None:
    with pytest.raises(AWSError, match="aws, aws-cn"):
        coordinator_policy(Scope(ACCOUNT, ["us-east-1", "cn-north-1"], ["f"], ["mine"]))


@pytest.mark.parametrize("make", [function_policy, coordinator_policy, operator_policy])
def test_iam_takes_the_policies(moto: None, make: Callable[[Scope], Policy]) -> None:
    boto3.client("iam").create_policy(PolicyName="p", PolicyDocument=json.dumps(make(SCOPE)))  # moto checks the grammar
