"""Where Lambda and S3 are: what the user says, what AWS's environment variables say, else botocore's own data."""

import difflib
import functools
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from mu_twisted.aws._errors import AWSError
from mu_twisted.aws._proxies import is_loopback


@functools.cache
def _regions() -> tuple[str, ...]:
    import botocore.session

    session = botocore.session.get_session()
    partitions = session.get_available_partitions()
    found = {region for name in partitions for region in session.get_available_regions("lambda", name)}
    return tuple(sorted(found))


@functools.cache
def partition_of(region: str) -> str:
    """The part of AWS that a region belongs to: ``aws``, ``aws-cn``, ``aws-us-gov``, ..."""
    import botocore.session

    return str(botocore.session.get_session().get_partition_for_region(region))


def check_region(region: str) -> None:
    """Whether Lambda has such a region, by botocore's data.

    :raises AWSError: it has not; names the nearest that it has.
    """
    if region not in _regions():
        near = difflib.get_close_matches(region, _regions(), 3, 0.5) or ["us-east-1"]
        raise AWSError(f"Lambda has no region {region!r}: did you mean {' or '.join(near)}?")


def lambda_endpoint(region: str, override: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Base URL of Lambda in a region, without a slash at its end.

    :param override: what the user says, before the environment.
    :raises AWSError: unknown region, or plain http to another machine.
    """
    check_region(region)
    given = override or _from_environment("LAMBDA", environ)
    if given:
        return check_endpoint(given)
    return _by_botocore(region)


@functools.cache
def _by_botocore(region: str) -> str:
    """AWS's own, kept: the first time takes a while, and may then be asked for where nothing may block."""
    import botocore.session

    # Building a client is how botocore resolves endpoints of every partition; it sends nothing.
    client = botocore.session.get_session().create_client(
        "lambda", region_name=region, aws_access_key_id="-", aws_secret_access_key="-"
    )
    return str(client.meta.endpoint_url)


def s3_endpoint(override: str | None = None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Base URL of the S3 to use in place of AWS's; None: AWS's own, by region.

    :raises AWSError: plain http to another machine.
    """
    given = override or _from_environment("S3", environ)
    return check_endpoint(given) if given else None


def _from_environment(service: str, environ: Mapping[str, str]) -> str | None:
    return environ.get(f"AWS_ENDPOINT_URL_{service}") or environ.get("AWS_ENDPOINT_URL") or None


def check_endpoint(url: str) -> str:
    """A base URL, without a slash at its end.

    :raises AWSError: it is none, or plain http to another machine.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AWSError(f"expected an endpoint like https://host[:port], got {url!r}")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise AWSError(f"{url}: plain http is for this machine's loopback only; use https")
    return url.rstrip("/")
