"""This module reads the state of an account and its functions, and changes nothing. Blocking; judges nothing."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, TypeVar

from mu_twisted.aws._clients import Clients
from mu_twisted.aws._code import files_in_package
from mu_twisted.aws._errors import AWSError, aws_errors, error_code, is_unsupported
from mu_twisted.aws._function_settings import is_image
from mu_twisted.aws._proxies import opener

if TYPE_CHECKING:
    from types_boto3_lambda.type_defs import (
        FunctionConfigurationTypeDef,
        FunctionEventInvokeConfigResponseTypeDef,
        FunctionEventInvokeConfigTypeDef,
        GetFunctionResponseTypeDef,
    )

T = TypeVar("T")
_TIMEOUT = 10.0


@dataclass(frozen=True)
class CallerIdentity:
    """The user or role that the credentials belong to.

    :param account: its account's twelve digits.
    :param arn: of the user or role.
    """

    account: str
    arn: str


@dataclass(frozen=True)
class FunctionState:
    """The state of one function.

    :param name: its name.
    :param region: AWS region.
    :param settings: Lambda's ``FunctionConfiguration``.
    :param code: where its package can be fetched for some minutes (presigned).
    :param reserved: environments that are reserved for it, and its limit; None: none.
    :param events: its ``FunctionEventInvokeConfig``; None if it has none.
    """

    name: str
    region: str
    settings: FunctionConfigurationTypeDef
    code: str = field(default="", repr=False)
    reserved: int | None = None
    events: FunctionEventInvokeConfigTypeDef | FunctionEventInvokeConfigResponseTypeDef | None = None

    @property
    def is_image(self) -> bool:
        """Whether it is made of a container image, whose files Lambda does not show."""
        return is_image(self.settings)

    def files(self) -> frozenset[str]:
        """The names of the files in its package.

        :raises AWSError: the package cannot be read.
        """
        return files_in_package(self.code, self.name)


@dataclass(frozen=True)
class Concurrency:
    """Environments that an account may have at once in a region.

    :param limit: of all functions together.
    :param unreserved: how many of them are left for functions without a reservation.
    """

    limit: int
    unreserved: int


class Inspection:
    """Questions about one region. Every method blocks; each raises :class:`AWSError` as one line."""

    def __init__(self, clients: Clients) -> None:
        self.region = clients.region
        self._where = clients.where
        self._clients = clients

    def caller(self) -> CallerIdentity:
        """The user or role whose credentials these are."""
        with aws_errors("ask who the credentials belong to"):
            answer = self._clients.sts.get_caller_identity()
            return CallerIdentity(answer["Account"], answer["Arn"])

    def function(self, name: str) -> FunctionState | None:
        """The function; None if there is none."""
        with aws_errors(f"look up function {name} in {self._where}"):
            client = self._clients.awslambda
            answer: GetFunctionResponseTypeDef | None = _optional(lambda: client.get_function(FunctionName=name))
            if answer is None:
                return None
            events = _optional(lambda: client.get_function_event_invoke_config(FunctionName=name))
        return FunctionState(
            name=name,
            region=self.region,
            settings=answer["Configuration"],
            code=answer["Code"].get("Location", ""),
            reserved=answer.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
            events=events,
        )

    def concurrency(self) -> Concurrency | None:
        """How many environments may run at once; None where the endpoint has no such limit to read."""
        from botocore.exceptions import ClientError

        with aws_errors(f"ask for the account's limits in {self._where}"):
            try:
                limits = self._clients.awslambda.get_account_settings()["AccountLimit"]
            except ClientError as error:
                if is_unsupported(error):
                    return None
                raise
            return Concurrency(limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"])

    def bucket_region(self, bucket: str) -> str | None:
        """The region of a bucket; None where S3 does not say it.

        :raises AWSError: there is no such bucket, or it may not be used.
        """
        from botocore.exceptions import ClientError

        with aws_errors(f"use bucket {bucket}"):
            try:
                answer = self._clients.s3.head_bucket(Bucket=bucket)
            except ClientError as error:
                if error_code(error) in ("404", "NoSuchBucket"):
                    raise AWSError(f"there is no bucket {bucket}") from None
                raise
            return answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")


def _optional(call: Callable[[], T]) -> T | None:
    """The result of a call; None where what it asks for, or the call itself, does not exist."""
    from botocore.exceptions import ClientError

    try:
        return call()
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException" or is_unsupported(error):
            return None
        raise


def clock_skew(endpoint: str, now: Callable[[], float] = time.time) -> float:
    """How far this machine's clock is ahead of an endpoint's. Needs no credentials.

    :param endpoint: a URL.
    :param now: this machine's time, seconds.
    :returns: seconds, negative if it is behind.
    :raises AWSError: the endpoint does not answer, or without a date.
    """
    begun = now()
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        with opener(endpoint).open(request, timeout=_TIMEOUT) as answer:
            date = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        date = error.headers.get("Date")
        error.close()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise AWSError(f"{endpoint} does not answer: {' '.join(str(reason).split())[:200]}") from None
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        raise AWSError(f"{endpoint} does not say what time it is") from None
    # The date is cut to whole seconds, and was set between our two readings of the clock.
    return (begun + now()) / 2 - theirs - 0.5
