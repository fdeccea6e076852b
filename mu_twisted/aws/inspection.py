"""What an account and a function are like, asked without changing anything."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any

from mu_twisted.aws._clients import Clients
from mu_twisted.aws._code import files_in_package
from mu_twisted.aws._errors import AWSError, error_code, is_unsupported, one_line
from mu_twisted.aws._proxies import opener

_PATIENCE = 10.0


@dataclass(frozen=True)
class Caller:
    """Who the credentials belong to.

    :param account: its twelve digits.
    :param arn: of the user or role.
    """

    account: str
    arn: str


@dataclass(frozen=True)
class FunctionState:
    """One function as it is.

    :param settings: Lambda's ``FunctionConfiguration``.
    :param code: where its package can be fetched for some minutes (presigned).
    :param reserved: environments that are reserved for it, and its limit; None: none.
    :param events: its ``FunctionEventInvokeConfig``; None if it has none.
    """

    name: str
    region: str
    settings: Mapping[str, Any]
    code: str = field(default="", repr=False)
    reserved: int | None = None
    events: Mapping[str, Any] | None = None

    def files(self) -> frozenset[str]:
        """The files of its package.

        :raises AWSError: it cannot be looked into.
        """
        return files_in_package(self.code, self.name)


@dataclass(frozen=True)
class Concurrency:
    """Environments that an account may have at once in a region.

    :param limit: in all.
    :param unreserved: of these, what is left for functions without a reservation.
    """

    limit: int
    unreserved: int


class Inspection:
    """Questions about one region. Every method blocks; each raises :class:`AWSError` as one line."""

    def __init__(self, clients: Clients) -> None:
        self.region = clients.region
        self._where = clients.where
        self._clients = clients

    def caller(self) -> Caller:
        """Who we are."""
        with one_line("ask who the credentials belong to"):
            told = self._clients.sts.get_caller_identity()
            return Caller(told["Account"], told["Arn"])

    def function(self, name: str) -> FunctionState | None:
        """The function; None if there is none."""
        with one_line(f"look up function {name} in {self._where}"):
            found = self._optional(self._clients.awslambda.get_function, name)
            if found is None:
                return None
            events = self._optional(self._clients.awslambda.get_function_event_invoke_config, name)
        return FunctionState(
            name=name,
            region=self.region,
            settings=found["Configuration"],
            code=found["Code"].get("Location", ""),
            reserved=found.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
            events=events,
        )

    def concurrency(self) -> Concurrency | None:
        """How much may run at once; None where the endpoint cannot tell."""
        from botocore.exceptions import ClientError

        with one_line(f"ask for the account's limits in {self._where}"):
            try:
                limits = self._clients.awslambda.get_account_settings()["AccountLimit"]
            except ClientError as error:
                if is_unsupported(error):
                    return None
                raise
            return Concurrency(limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"])

    def bucket_region(self, bucket: str) -> str | None:
        """Where a bucket is, if S3 says so.

        :raises AWSError: there is no such bucket, or it may not be used.
        """
        from botocore.exceptions import ClientError

        with one_line(f"use bucket {bucket}"):
            try:
                told = self._clients.s3.head_bucket(Bucket=bucket)
            except ClientError as error:
                if error_code(error) in ("404", "NoSuchBucket"):
                    raise AWSError(f"there is no bucket {bucket}") from None
                raise
            region: str | None = told["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
            return region

    @staticmethod
    def _optional(call: Callable[..., Any], name: str) -> Any:
        from botocore.exceptions import ClientError

        try:
            return call(FunctionName=name)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException" or is_unsupported(error):
                return None
            raise


def clock_skew(endpoint: str, now: Callable[[], float] = time.time) -> float:
    """How far this machine's clock is ahead of an endpoint's, seconds. Needs no credentials.

    :raises AWSError: it does not answer, or does not say what time it is.
    """
    begun = now()
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        with opener(endpoint).open(request, timeout=_PATIENCE) as answer:
            said = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        said = error.headers.get("Date")
        error.close()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise AWSError(f"{endpoint} does not answer: {' '.join(str(reason).split())[:200]}") from None
    try:
        theirs = parsedate_to_datetime(said or "").timestamp()
    except ValueError:
        raise AWSError(f"{endpoint} does not say what time it is") from None
    # It was cut to whole seconds, and made between our two looks.
    return (begun + now()) / 2 - theirs - 0.5
