"""Deployment packages that a caller has put into the local S3."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from mu_twisted.local._code import LARGEST_UNPACKED
from mu_twisted.local._errors import invalid


def read(s3: Any, bucket: str, key: str, version: str | None) -> bytes:
    """The package's bytes. Blocks; for a thread.

    :param s3: a boto3 client.
    :raises ApiError: 400 where it is not there or is more than even unpacked code may be.
    """
    more = {} if version is None else {"VersionId": version}
    try:
        found = s3.get_object(Bucket=bucket, Key=key, **more)
        with found["Body"] as body:
            if found["ContentLength"] > LARGEST_UNPACKED:
                raise invalid("The package in S3 is too large.")
            data: bytes = body.read()
    except (ClientError, BotoCoreError) as error:
        raise invalid(f"Error occurred while GetObject. {error}") from None
    return data
