"""An object's origin and path are computed here from bucket, key, region and endpoint. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from worker_lambda.s3._errors import S3Error
from worker_lambda.s3._http_sockets import HttpOrigin
from worker_lambda.s3._sigv4 import quote, quote_key

_REGION = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,20}){1,4}")
_FOREIGN_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""Of other S3s: ``auto``, ``default``, ``GRA``, ``fr-par``."""
_REFERENCE = re.compile(r"[!-~]{1,8192}")
"""What can be a reference (RFC 3986, section 2): no blanks, no controls, nothing beyond ASCII."""
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")
_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
}
"""Domains of AWS's partitions by how their regions' names begin; all others are in ``amazonaws.com``."""


def endpoint_of(endpoint: str | None, environment: Mapping[str, str]) -> str | None:
    """The endpoint to use: the given one, else the environment's; None is AWS itself."""
    return endpoint or environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None


def locate(bucket: str, key: bytes, region: str, endpoint: str | None) -> tuple[HttpOrigin, str]:
    """Origin and encoded path of an object.

    The bucket stands in the host (virtual-host style) at AWS where its name can be a host name under AWS's certificate,
    else in the path.

    :raises S3Error: the region or the endpoint cannot be one, or that is plain http to another machine.
    """
    if endpoint is None:
        host = f"s3.{region}.{domain(region)}"
        if _LABEL.fullmatch(bucket):
            return HttpOrigin("https", f"{bucket}.{host}", 443), f"/{quote_key(key)}"
        return HttpOrigin("https", host, 443), f"/{_quote_bucket(bucket)}/{quote_key(key)}"
    if not is_region(region, at_aws=False):
        raise S3Error(f"{region[:64]!r} is not the name of a region; set the region to the one of {endpoint[:200]!r}")
    origin, prefix = split(endpoint)
    if origin.scheme == "http" and not _LOOPBACK.fullmatch(origin.host):
        raise S3Error(
            f"the S3 endpoint {endpoint[:200]!r} is on another machine: plain http is for loopback, use https"
        )
    return origin, f"{prefix}/{_quote_bucket(bucket)}/{quote_key(key)}"


def domain(region: str) -> str:
    """AWS's domain for a region.

    :raises S3Error: it has no name of a region, so that it must not get into a host name.
    """
    if not _REGION.fullmatch(region):
        raise S3Error(f"{region[:64]!r} is not the name of an AWS region; set the region to one such as us-east-1")
    return next((name for start, name in _DOMAINS.items() if region.startswith(start)), "amazonaws.com")


def is_region(name: str, *, at_aws: bool) -> bool:
    """Whether this can name a region. It gets into a signature, at AWS into a host's name: a server's word is not
    enough for that.
    """
    return (_REGION if at_aws else _FOREIGN_REGION).fullmatch(name) is not None


def resolve(location: str, origin: HttpOrigin, path: str) -> tuple[HttpOrigin, str] | None:
    """Where a ``Location`` leads, without its query (RFC 9110, section 10.2.2: it may be relative to the request).

    Dots in a path are left as they are: they may be parts of keys.

    :param origin: of the request, and its ``path``.
    :returns: None if it cannot be made out.
    """
    if not _REFERENCE.fullmatch(location):
        return None
    location = location.partition("#")[0].partition("?")[0]
    if location.startswith("//"):
        location = f"{origin.scheme}:{location}"
    elif location.startswith("/"):
        return origin, location
    elif not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location):
        return origin, f"{path.rpartition('/')[0]}/{location}" if location else path
    try:
        target, _ = split(location)
    except S3Error:
        return None
    return target, "/" + "".join(location.split("/", 3)[3:])


def split(url: str) -> tuple[HttpOrigin, str]:
    """Origin and path of a URL, the path without its last ``/``.

    :raises S3Error: not an absolute http or https URL.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in ("http", "https") or not host:
        raise S3Error(f"the S3 endpoint {url[:200]!r} is not of the form https://HOST[:PORT]")
    return HttpOrigin(scheme, host, port or (443 if scheme == "https" else 80)), parts.path.rstrip("/")


def _quote_bucket(bucket: str) -> str:
    return quote(bucket.encode("utf-8", "surrogateescape"))
