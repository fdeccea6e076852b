"""Signature Version 4 of S3 requests is computed by pure functions: no clock, no environment, no connection.

S3's own rules, which differ from AWS's other services: each byte of a key is encoded once, ``/`` is kept and the path
is never normalised (AWS: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API Reference).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

UNSIGNED = "UNSIGNED-PAYLOAD"
"""Stands for the payload's hash where TLS protects the payload."""
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_QUOTED = [chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in range(256)]
_QUOTED_PATH = [*_QUOTED]
_QUOTED_PATH[ord("/")] = "/"


def quote(value: bytes) -> str:
    """Percent-encode every byte but the unreserved ones, ``/`` too: for a bucket or a part of a query."""
    return "".join([_QUOTED[byte] for byte in value])


def quote_key(key: bytes) -> str:
    """Percent-encode a key for the path: ``/`` stays, and so do ``//``, ``.`` and ``..``."""
    return "".join([_QUOTED_PATH[byte] for byte in key])


def canonical_query(parameters: Iterable[tuple[str, str]]) -> str:
    """The query string as it is both sent and signed: encoded, sorted, an empty value as ``name=``."""
    pairs = sorted((quote(name.encode()), quote(value.encode())) for name, value in parameters)
    return "&".join(f"{name}={value}" for name, value in pairs)


def authorization(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    region: str,
    access_key: str,
    secret_key: str,
) -> str:
    """The value of a request's ``Authorization`` header.

    :param path: as sent, already encoded.
    :param query: of :func:`canonical_query`, or empty.
    :param headers: those to sign, by lower-case name; ``host``, ``x-amz-date`` (``YYYYMMDDTHHMMSSZ``) and
        ``x-amz-content-sha256`` must be among them.
    """
    stamp = headers["x-amz-date"]
    names = sorted(headers)
    signed = ";".join(names)
    lines = [method, path, query]
    lines += [f"{name}:{' '.join(headers[name].split())}" for name in names]
    lines += ["", signed, headers["x-amz-content-sha256"]]
    signature = _signature(lines, stamp, region, secret_key)
    scope = _scope(stamp, region)
    return f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"


def presigned_query(
    path: str, host: str, stamp: str, seconds: int, *, region: str, access_key: str, secret_key: str, token: str
) -> str:
    """The query string of a URL by which its holder can get an object for a while.

    :param path: as sent, already encoded.
    :param host: the ``Host`` header.
    :param stamp: the time from which on it is good, ``YYYYMMDDTHHMMSSZ``.
    :param seconds: for which it is good, 1 to 604800; temporary credentials end it earlier.
    :param token: the session token of temporary credentials, or empty.
    """
    parameters = [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", f"{access_key}/{_scope(stamp, region)}"),
        ("X-Amz-Date", stamp),
        ("X-Amz-Expires", str(seconds)),
        ("X-Amz-SignedHeaders", "host"),
    ]
    if token:
        parameters.append(("X-Amz-Security-Token", token))
    query = canonical_query(parameters)
    signature = _signature(["GET", path, query, f"host:{host}", "", "host", UNSIGNED], stamp, region, secret_key)
    return f"{query}&X-Amz-Signature={signature}"


def _scope(stamp: str, region: str) -> str:
    return f"{stamp[:8]}/{region}/s3/aws4_request"


def _signature(canonical: Iterable[str], stamp: str, region: str, secret_key: str) -> str:
    """The signature of a canonical request, given by its lines."""
    request = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    key = f"AWS4{secret_key}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{_scope(stamp, region)}\n{request}"
    return hmac.digest(key, text.encode(), "sha256").hex()
