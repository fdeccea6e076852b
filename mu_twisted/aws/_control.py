"""This module makes the few requests around a job that do not need the launcher's speed. Blocking; knows no jobs."""

from __future__ import annotations

import base64
import contextlib
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from shlex import quote
from typing import TYPE_CHECKING, cast

from mu_twisted.aws._clients import Clients
from mu_twisted.aws._code import files_in_package
from mu_twisted.aws._errors import AWSError, InvalidName, aws_errors, error_code
from mu_twisted.aws._function_settings import LOCAL_ROLE, ORIGINAL_HANDLER, FunctionSpec, entry_of, is_image
from mu_twisted.aws._functions import Functions
from mu_twisted.base import one_line
from mu_twisted.base.masking import masked

if TYPE_CHECKING:
    from types_boto3_lambda.type_defs import FunctionConfigurationResponseTypeDef, FunctionConfigurationTypeDef
    from types_boto3_s3.literals import BucketLocationConstraintType

UPDATE_TIMEOUT = 60.0
"""Seconds to wait for a function that is being updated."""
_PAUSE = 1.0


@dataclass(frozen=True)
class FunctionSettings:
    """The settings of a function that its jobs depend on.

    :param timeout: how long one invocation may run.
    :param memory_mb: its memory in MB.
    :param tmp_mb: its temporary files in MB.
    :param architecture: its processor, ``x86_64`` or ``arm64``.
    :param is_original: whether it has the handler of the original's workers.
    """

    timeout: timedelta
    memory_mb: int
    tmp_mb: int = 512
    architecture: str = "x86_64"
    is_original: bool = False


@dataclass(frozen=True)
class InvokeAnswer:
    """The answer to a synchronous invocation.

    :param error: None if the function returned; else Lambda's reason why it did not.
    :param result: its payload, as text.
    :param log_tail: the last 4 KB of its log.
    """

    error: str | None
    result: str
    log_tail: str


class AwsControl:
    """Calls to Lambda and S3 in one region. Every method blocks; each raises :class:`AWSError` as one line.

    :param clients: those that it calls by.
    :param sleep: blocks for so many seconds.
    """

    def __init__(self, clients: Clients, *, sleep: Callable[[float], object] = time.sleep) -> None:
        self.clients = clients
        self.region = clients.region
        self._sleep = sleep
        self._where = self.clients.where
        local = "" if clients.stack is None else f" --local --state-dir {quote(str(clients.stack))}"
        self._lambdaize = f"mu lambdaize EXE{local} --region {clients.region}"

    # -- Lambda ----------------------------------------------------------------------------------------------------

    def function_settings(self, function: str, made_by: str = "") -> FunctionSettings:
        """Get a function's settings; an error if there is no such function, or it cannot be invoked.

        Waits for an update in progress: until its end some environments have the old code. Does not wait for a function
        that is Pending or Inactive: Lambda activates it when it is invoked, and its launches wait for that.

        :param made_by: the command that prints how it is made, if there is one.
        """
        with aws_errors(f"look up function {function} in {self._where}"):
            configuration = self._updated(function, made_by)
            _check_state(function, self._where, configuration)
            return FunctionSettings(
                timedelta(seconds=configuration.get("Timeout", 3)),
                configuration.get("MemorySize", 128),
                configuration.get("EphemeralStorage", {}).get("Size", 512),
                (configuration.get("Architectures") or ["x86_64"])[0],
                entry_of(configuration) == ORIGINAL_HANDLER,
            )

    def _updated(self, function: str, made_by: str) -> FunctionConfigurationResponseTypeDef:
        how = f"by the commands that `{made_by}` prints" if made_by else f"with `{self._lambdaize} --name {function}`"
        waited = 0.0
        while True:
            with self._missing(f"there is no function {function} in {self._where}: make it {how}"):
                configuration = self.clients.awslambda.get_function_configuration(FunctionName=function)
            if configuration.get("LastUpdateStatus") != "InProgress":
                return configuration
            if waited >= UPDATE_TIMEOUT:
                raise AWSError(f"function {function} in {self._where} is being updated: try again when that is done")
            self._sleep(_PAUSE)
            waited += _PAUSE

    def missing_programs(self, function: str, programs: Sequence[str]) -> list[str]:
        """Find which of these files the function's package does not hold; of an image's files nothing is known.

        Makes no call where there are none.
        """
        if not programs:
            return []
        with aws_errors(f"look up the code of function {function} in {self._where}"):
            found = self.clients.awslambda.get_function(FunctionName=function)
        if is_image(found["Configuration"]):
            return []
        held = files_in_package(found["Code"]["Location"], function)
        return [program for program in programs if program.removeprefix("./") not in held]

    def invoke_with_tail(self, function: str, payload: bytes) -> InvokeAnswer:
        """Invoke the function once, wait for its end, and get the tail of its log."""
        with aws_errors(f"invoke function {function} in {self._where}"):
            answer = self.clients.awslambda.invoke(
                FunctionName=function, InvocationType="RequestResponse", LogType="Tail", Payload=payload
            )
            result = answer["Payload"].read(1 << 20).decode("utf-8", "replace")
        tail = base64.b64decode(answer.get("LogResult", "")).decode("utf-8", "replace")
        error = answer.get("FunctionError")
        return InvokeAnswer(f"{error}: {' '.join(result.split())[:500]}" if error else None, result, tail)

    def create_function(
        self, name: str, package: bytes, *, role: str = LOCAL_ROLE, description: str = ""
    ) -> FunctionConfigurationTypeDef:
        """As :meth:`Functions.create`, with the usual settings."""
        return Functions(self.clients).create(FunctionSpec(name=name, role=role, description=description), package)

    # -- S3 --------------------------------------------------------------------------------------------------------

    def check_bucket(self, bucket: str) -> None:
        """Raise an error if the bucket does not exist or may not be used."""
        # botocore's own error for it is a page of patterns.
        if not bucket.startswith("arn:") and not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", bucket):
            raise InvalidName(f"{bucket!r} cannot be the name of a bucket: check -b")
        missing = f"there is no bucket {bucket}{self.clients.where_s3}: check -b, or make it"
        with aws_errors(f"use bucket {bucket}{self.clients.where_s3}"), self._missing(missing):
            self.clients.s3.head_bucket(Bucket=bucket)

    def create_bucket(self, bucket: str) -> None:
        """Create a bucket in this region."""
        with aws_errors(f"create bucket {bucket}"):
            if self.region == "us-east-1":  # which S3 does not take as a constraint
                self.clients.s3.create_bucket(Bucket=bucket)
            else:
                # The stubs list the regions of their day; S3 refuses what it does not know.
                region = cast("BucketLocationConstraintType", self.region)
                self.clients.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})

    def existing(self, bucket: str, keys: Collection[str]) -> set[str]:
        """Find which of these objects exist, by listing their prefixes."""
        found: set[str] = set()
        with aws_errors(f"list bucket {bucket}"):
            pages = self.clients.s3.get_paginator("list_objects_v2")
            for prefix in {key[: key.rfind("/") + 1] for key in keys}:
                for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
                    found.update(item["Key"] for item in page.get("Contents", ()))
        return found.intersection(keys)

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        """Store one object."""
        with aws_errors(f"store s3://{bucket}/{key}"):
            self.clients.s3.put_object(Bucket=bucket, Key=key, Body=body)

    def get_object(self, bucket: str, key: str) -> bytes:
        """Fetch one object."""
        with aws_errors(f"fetch s3://{bucket}/{key}"), self._missing(f"there is no object s3://{bucket}/{key}"):
            body: bytes = self.clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            return body

    def get_part(self, bucket: str, key: str, first: int, count: int) -> tuple[bytes, int]:
        """Fetch a part of one object.

        :param first: where it begins, in bytes; at the object's end or behind it there is nothing.
        :param count: bytes at most.
        :returns: the part, and the size of the whole object.
        """
        s3, where = self.clients.s3, f"s3://{bucket}/{key}"
        with aws_errors(f"fetch {where}"), self._missing(f"there is no object {where}"):
            try:
                answer = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{first + count - 1}")
            except self.clients.s3.exceptions.ClientError as error:
                if error_code(error) not in ("InvalidRange", "416"):
                    raise
                return b"", s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
            part = answer["Body"].read(count)
            return part, int(answer.get("ContentRange", f"/{len(part)}").rpartition("/")[2])

    @contextlib.contextmanager
    def _missing(self, text: str) -> Iterator[None]:
        from botocore.exceptions import ClientError

        try:
            yield
        except ClientError as error:
            if error_code(error) in _NOT_THERE:
                raise AWSError(text) from None
            raise


def _check_state(function: str, region: str, configuration: FunctionConfigurationResponseTypeDef) -> None:
    """Check a function by AWS's "Lambda function states".

    :raises AWSError: the function will not run, or not the code that it was last given.
    """
    where = f"function {function} in {region}"
    if configuration.get("State") == "Failed":
        why = _reason(configuration, "StateReason")
        raise AWSError(f"{where} cannot be invoked, its state is Failed{why}: make it again with `mu lambdaize`")
    if configuration.get("LastUpdateStatus") == "Failed":
        why = _reason(configuration, "LastUpdateStatusReason")
        raise AWSError(f"the last update of {where} has failed{why}: update it again with `mu lambdaize --replace`")


def _reason(configuration: FunctionConfigurationResponseTypeDef, name: str) -> str:
    reason = one_line(masked(str(configuration.get(name) or "")), 300).rstrip(".")
    return f" ({reason})" if reason else ""


_NOT_THERE = frozenset({"ResourceNotFoundException", "NoSuchBucket", "NoSuchKey", "404"})
