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
    request = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    key = f"AWS4{secret_key}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{request}".encode(), "sha256").hex()
    return f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
