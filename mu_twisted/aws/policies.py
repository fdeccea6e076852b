"""This module writes IAM policies that allow each role what it needs, for named functions and buckets only. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mu_twisted.aws._endpoints import partition_of
from mu_twisted.aws._errors import AWSError
from mu_twisted.aws._functions import UPLOAD_PREFIX

Policy = dict[str, Any]
VERSION = "2012-10-17"
"""Version of IAM's policy language."""
ROLES = ("function", "coordinator", "operator")


@dataclass(frozen=True)
class Scope:
    """The resources that the policies are about.

    :param account: twelve digits.
    :param regions: AWS regions of the functions.
    :param functions: names, in which ``*`` and ``?`` are wildcards.
    :param buckets: ``BUCKET`` or ``BUCKET/PREFIX``: what workers read and write.
    :param role: name or ARN of the functions' execution role.
    :param code_bucket: the bucket through which large packages go to Lambda.
    """

    account: str
    regions: Sequence[str]
    functions: Sequence[str]
    buckets: Sequence[str]
    role: str | None = None
    code_bucket: str | None = None

    @property
    def partition(self) -> str:
        """``aws``, ``aws-cn``, ``aws-us-gov``, ..., by botocore's data.

        :raises AWSError: the regions are of several.
        """
        partitions = {partition_of(region) for region in self.regions}
        if len(partitions) != 1:
            raise AWSError(f"regions of several partitions ({', '.join(sorted(partitions))}) have no account in common")
        return partitions.pop()

    def function_arns(self) -> list[str]:
        """ARNs of the named functions in each region."""
        start = [f"arn:{self.partition}:lambda:{region}:{self.account}:function" for region in self.regions]
        return [f"{arn}:{name}" for arn in start for name in self.functions]

    def object_arns(self) -> list[str]:
        """ARNs of the objects below the named prefixes."""
        return [
            f"arn:{self.partition}:s3:::{bucket}/{prefix}*"
            for bucket, _, prefix in (text.partition("/") for text in self.buckets)
        ]

    def bucket_arns(self) -> list[str]:
        """ARNs of the named buckets."""
        names = dict.fromkeys(text.partition("/")[0] for text in self.buckets)
        return [f"arn:{self.partition}:s3:::{name}" for name in names]

    def role_arn(self) -> str:
        """ARN of the functions' role.

        :raises AWSError: it was not named.
        """
        if self.role is None:
            raise AWSError("the operator's policy names the functions' role: give --role, or set AWS_ROLE")
        return (
            self.role if self.role.startswith("arn:") else f"arn:{self.partition}:iam::{self.account}:role/{self.role}"
        )


def function_policy(scope: Scope) -> Policy:
    """For the role that workers run as: objects of the named prefixes, and the functions' own logs."""
    logs = [
        f"arn:{scope.partition}:logs:{region}:{scope.account}:log-group:/aws/lambda/{name}"
        for region in scope.regions
        for name in scope.functions
    ]
    return _policy(
        _allow("Objects", ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], scope.object_arns()),
        _allow("LogGroup", ["logs:CreateLogGroup"], logs),
        _allow("Logs", ["logs:CreateLogStream", "logs:PutLogEvents"], [f"{arn}:*" for arn in logs]),
    )


def coordinator_policy(scope: Scope) -> Policy:
    """For the coordinator's host, ``mu doctor`` included: invoke the named functions, look at them and the buckets."""
    functions = ["lambda:InvokeFunction", "lambda:GetFunctionConfiguration", "lambda:GetFunction"]
    return _policy(
        _allow("Functions", [*functions, "lambda:GetFunctionEventInvokeConfig"], scope.function_arns()),
        _allow("Buckets", ["s3:ListBucket"], scope.bucket_arns()),
        _allow("Limits", ["lambda:GetAccountSettings"], ["*"]),
    )


def operator_policy(scope: Scope) -> Policy:
    """For operators that create, replace, list and remove functions: ``mu lambdaize`` and ``mu functions``."""
    making = ["lambda:CreateFunction", "lambda:GetFunction", "lambda:PutFunctionEventInvokeConfig"]
    replacing = ["lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration"]
    tagging = ["lambda:TagResource", "lambda:ListTags"]
    code = []
    if scope.code_bucket is not None:
        names = [scope.code_bucket.replace("{region}", region) for region in scope.regions]
        objects = [f"arn:{scope.partition}:s3:::{name}/{UPLOAD_PREFIX}*" for name in dict.fromkeys(names)]
        code = [_allow("Code", ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"], objects)]
    return _policy(
        _allow("Functions", [*making, *replacing, *tagging, "lambda:DeleteFunction"], scope.function_arns()),
        _allow("List", ["lambda:ListFunctions"], ["*"]),
        {
            **_allow("Role", ["iam:PassRole"], [scope.role_arn()]),
            "Condition": {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
        },
        *code,
    )


def trust_policy(service: str) -> Policy:
    """Allow a service to assume a role.

    :param service: such as ``lambda.amazonaws.com``.
    """
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": VERSION, "Statement": [statement]}


def _allow(name: str, actions: Iterable[str], resources: Sequence[str]) -> Policy:
    return {"Sid": name, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}


def _policy(*statements: Policy) -> Policy:
    return {"Version": VERSION, "Statement": list(statements)}
