"""A request's Signature Version 4 is verified here, recomputed by botocore's own signer, header or presigned.

Knows neither sockets nor functions: a request comes in as values, a refusal goes out as :class:`ApiError`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from mu_twisted.local._errors import ApiError

SKEW = 300.0
"""Seconds that a client's clock may differ from ours; AWS allows five minutes."""

LONGEST_PRESIGNED = 604800
"""Seconds for which a presigned request may be good, as at AWS."""

_FORMAT = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=([^,\s]+)\s*,\s*SignedHeaders=([^,\s]+)\s*,\s*Signature=([0-9a-f]{64})\s*"
)


@dataclass(frozen=True)
class SignedRequest:
    """The parts of a request that its signature covers.

    :param method: for example ``POST``.
    :param target: path and query exactly as they came over the wire.
    :param headers: by lower-case name; several of one name joined by commas.
    :param body: all of it.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class _Recomputed(SigV4Auth):
    """botocore's signer with the headers and the moment that the client signed."""

    def __init__(self, credentials: Credentials, service: str, region: str, signed: list[str]) -> None:
        super().__init__(credentials, service, region)
        self._signed = signed

    def headers_to_sign(self, request: Any) -> HTTPHeaders:
        chosen = HTTPHeaders()
        for name in self._signed:
            chosen[name] = request.headers.get(name, "")
        return chosen

    def recompute(self, request: AWSRequest, timestamp: str) -> str:
        request.context["timestamp"] = timestamp
        return str(self.signature(self.string_to_sign(request, self.canonical_request(request)), request))


def _refused(code: str, message: str) -> ApiError:
    return ApiError(403, code, message)


def _mismatch(message: str) -> ApiError:
    return _refused("InvalidSignatureException", message)


@dataclass(frozen=True)
class _Claim:
    """The parts of a signature as the client gave them."""

    credential: str
    signed: list[str]
    signature: str
    timestamp: str
    expires: float | None
    target: str


def _query(target: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in target.partition("?")[2].split("&") if pair)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _claim(request: SignedRequest) -> _Claim:
    query = _query(request.target)
    if "X-Amz-Signature" in query:
        if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
            raise _mismatch("X-Amz-Algorithm only supports AWS4-HMAC-SHA256.")
        path, _, text = request.target.partition("?")
        kept = [pair for pair in text.split("&") if unquote(pair.partition("=")[0]) != "X-Amz-Signature"]
        expires = query.get("X-Amz-Expires", "")
        if re.fullmatch("[0-9]{1,9}", expires) is None or not 0 < int(expires) <= LONGEST_PRESIGNED:
            raise _mismatch(f"X-Amz-Expires must be between 1 and {LONGEST_PRESIGNED} seconds.")
        return _Claim(
            query.get("X-Amz-Credential", ""),
            query.get("X-Amz-SignedHeaders", "").lower().split(";"),
            query["X-Amz-Signature"],
            query.get("X-Amz-Date", ""),
            float(expires),
            f"{path}?{'&'.join(kept)}",
        )
    header = request.headers.get("authorization")
    if not header:
        raise _refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    found = _AUTHORIZATION.fullmatch(header)
    if found is None:
        raise _refused(
            "IncompleteSignatureException",
            "Authorization header requires 'AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...'.",
        )
    timestamp = request.headers.get("x-amz-date", "")
    return _Claim(found[1], found[2].lower().split(";"), found[3], timestamp, None, request.target)


def _check_moment(claim: _Claim, now: float) -> None:
    try:
        signed_at = datetime.strptime(claim.timestamp, _FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise _refused("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'.") from None
    limit = SKEW if claim.expires is None else claim.expires
    if now - signed_at > limit:
        raise _mismatch(f"Signature expired: {claim.timestamp} is now earlier than what {int(limit)} s allow.")
    if signed_at - now > SKEW:
        raise _mismatch(f"Signature not yet current: {claim.timestamp} is still later than what {int(SKEW)} s allow.")


def verify(request: SignedRequest, secrets: Mapping[str, str], service: str, now: float) -> str:
    """Check the signature of a request.

    Any session token is accepted: it is part of the signature.

    :param request: what came.
    :param secrets: secret key by access key.
    :param service: AWS's name of the service that the scope must name, for example ``lambda``.
    :param now: seconds since the epoch.
    :returns: the region of the scope.
    :raises ApiError: 403, with AWS's code for the fault.
    """
    claim = _claim(request)
    scope = claim.credential.split("/")
    if len(scope) != 5 or scope[4] != "aws4_request" or not scope[2]:
        raise _refused("IncompleteSignatureException", "Credential must be KEY/DATE/REGION/SERVICE/aws4_request.")
    key, date, region, scoped, _ = scope
    if key not in secrets:
        raise _refused("UnrecognizedClientException", "The security token included in the request is invalid.")
    if scoped != service:
        raise _mismatch(f"Credential should be scoped to correct service: '{service}'.")
    if date != claim.timestamp[:8]:
        raise _mismatch("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.")
    _check_moment(claim, now)
    if "host" not in claim.signed:
        raise _mismatch("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    presigned = claim.expires is not None
    unsigned = [n for n in request.headers if n.startswith("x-amz-") and n not in claim.signed]
    if unsigned and not (presigned and unsigned == ["x-amz-content-sha256"]):
        raise _mismatch(f"'{unsigned[0]}' must be a 'SignedHeader' in the AWS Authorization.")
    announced = request.headers.get("x-amz-content-sha256")
    if announced not in (None, "UNSIGNED-PAYLOAD", hashlib.sha256(request.body).hexdigest()):
        raise _mismatch("The x-amz-content-sha256 header does not match what was computed.")
    headers = {name: request.headers[name] for name in claim.signed if name in request.headers}
    if announced is not None:
        headers["x-amz-content-sha256"] = announced
    url = f"http://{request.headers.get('host', '')}{claim.target}"
    signer = _Recomputed(Credentials(key, secrets[key]), service, region, claim.signed)
    expected = signer.recompute(AWSRequest(request.method, url, headers, request.body), claim.timestamp)
    if not hmac.compare_digest(expected.encode(), claim.signature.encode(errors="surrogateescape")):
        raise _mismatch(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method."
        )
    return region
