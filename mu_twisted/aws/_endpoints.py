"""Endpoints of Lambda and S3 are resolved here: by the user, AWS's environment variables, else by botocore's data."""

import difflib
import functools
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from mu_twisted.aws._credentials import unconfigured_session
from mu_twisted.aws._errors import AWSError, InvalidName, aws_errors
from mu_twisted.aws._proxies import is_loopback

_ALIKE = 0.75
"""How like a region a name is for which the region may have been meant, as difflib has it: 1 is the same."""


@functools.cache
def _regions() -> tuple[str, ...]:
    session = unconfigured_session()
    partitions = session.get_available_partitions()
    found = {region for name in partitions for region in session.get_available_regions("lambda", name)}
    return tuple(sorted(found))


@functools.cache
def partition_of(region: str) -> str:
    """The part of AWS that a region belongs to: ``aws``, ``aws-cn``, ``aws-us-gov``, ..."""
    return str(unconfigured_session().get_partition_for_region(region))


def check_region(region: str) -> None:
    """Check that Lambda has such a region, by botocore's data.

    :raises InvalidName: it has not; the text names similar ones.
    """
    if region not in _regions():
        near = difflib.get_close_matches(region.lower().replace("_", "-"), _regions(), 3, _ALIKE)
        hint = f"did you mean {' or '.join(near)}?" if near else "expected one such as us-east-1"
        raise InvalidName(f"Lambda has no region {region!r}: {hint}")


def lambda_endpoint(region: str, override: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Find the base URL of Lambda in a region, without a slash at its end.

    :param region: AWS region.
    :param override: the user's, which precedes the environment's.
    :param environ: for ``AWS_ENDPOINT_URL_LAMBDA`` and ``AWS_ENDPOINT_URL``.
    :raises AWSError: unknown region, plain http to another machine, or AWS's configuration cannot be read.
    """
    check_region(region)
    url = override or _from_environment("LAMBDA", environ)
    if url:
        return check_endpoint(url)
    return _by_botocore(region)


@functools.cache
def _by_botocore(region: str) -> str:
    """AWS's own endpoint, cached: the first call takes long, later ones are made where nothing may block."""
    import botocore.session

    with aws_errors("read the AWS configuration"):
        # Building a client is how botocore resolves endpoints of every partition; it sends nothing.
        client = botocore.session.get_session().create_client(
            "lambda", region_name=region, aws_access_key_id="-", aws_secret_access_key="-"
        )
        return str(client.meta.endpoint_url)


def s3_endpoint(override: str | None = None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Find the base URL of the S3 to use in place of AWS's; None: AWS's own, by region.

    :raises AWSError: plain http to another machine.
    """
    url = override or _from_environment("S3", environ)
    return check_endpoint(url) if url else None


def _from_environment(service: str, environ: Mapping[str, str]) -> str | None:
    return environ.get(f"AWS_ENDPOINT_URL_{service}") or environ.get("AWS_ENDPOINT_URL") or None


def check_endpoint(url: str) -> str:
    """Check a base URL, and remove slashes at its end.

    :raises AWSError: it is no URL, or plain http to another machine.
    """
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host = "", None
    if scheme not in ("http", "https") or not host:
        raise AWSError(f"expected an endpoint like https://host[:port], got {url!r}")
    if scheme == "http" and not is_loopback(host):
        raise AWSError(f"{url}: plain http is for this machine's loopback only; use https")
    return url.rstrip("/")
