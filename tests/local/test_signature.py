"""Signatures, made by botocore, as our endpoint judges them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from mu_twisted.local import ApiError
from mu_twisted.local.lambda_api._signature import SignedRequest, verify

SECRETS = {"AKIATEST": "secret"}
URL = "http://127.0.0.1:9/2015-03-31/functions/a%3Ab/invocations?Qualifier=%24LATEST&x="


def signed(
    secret: str = "secret", token: str | None = None, presign: bool = False, region: str = "us-west-2", **more: Any
) -> SignedRequest:
    headers = {"X-Amz-Log-Type": "Tail", "Content-Type": "application/json", **more.pop("headers", {})}
    body = b"" if presign else b'{"a": 1}'
    request = AWSRequest("POST", URL, headers, body)
    credentials = Credentials(more.get("key", "AKIATEST"), secret, token)
    service = more.get("service", "lambda")
    signer = SigV4QueryAuth if presign else SigV4Auth
    signer(credentials, service, region).add_auth(request)
    made = request.prepare()
    names = {
        name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in made.headers.items()
    }
    return SignedRequest("POST", made.url.removeprefix("http://127.0.0.1:9"), {**names, "host": "127.0.0.1:9"}, body)


def now() -> datetime:
    """Asked for each time: a signature of now is made by botocore, and is good for minutes only."""
    return datetime.now(UTC)


def refusal(request: SignedRequest, moment: datetime | None = None) -> str:
    with pytest.raises(ApiError) as caught:
        verify(request, SECRETS, "lambda", (moment or now()).timestamp())
    assert caught.value.status == 403
    return caught.value.code


@pytest.mark.parametrize("presign", [False, True])
@pytest.mark.parametrize("token", [None, "a/token+with=all"])
class TestBothForms:
    def test_what_botocore_signs_is_taken_and_its_region_told(self, presign: bool, token: str | None) -> None:
        assert verify(signed(presign=presign, token=token), SECRETS, "lambda", now().timestamp()) == "us-west-2"

    def test_a_wrong_secret_is_refused(self, presign: bool, token: str | None) -> None:
        assert refusal(signed("other", token, presign)) == "InvalidSignatureException"

    def test_a_clock_that_is_fast_or_slow_is_refused(self, presign: bool, token: str | None) -> None:
        late = timedelta(hours=2)
        assert refusal(signed(presign=presign, token=token), now() + late) == "InvalidSignatureException"
        assert refusal(signed(presign=presign, token=token), now() - late) == "InvalidSignatureException"

    def test_an_unknown_key_is_refused(self, presign: bool, token: str | None) -> None:
        assert refusal(signed(presign=presign, token=token, key="AKIAOTHER")) == "UnrecognizedClientException"

    def test_another_services_signature_is_refused(self, presign: bool, token: str | None) -> None:
        assert refusal(signed(presign=presign, token=token, service="s3")) == "InvalidSignatureException"

    def test_a_changed_path_is_refused(self, presign: bool, token: str | None) -> None:
        request = signed(presign=presign, token=token)
        changed = SignedRequest(request.method, request.target.replace("a%3Ab", "a%3Ac"), request.headers, request.body)
        assert refusal(changed) == "InvalidSignatureException"


def test_a_changed_body_is_refused() -> None:
    request = signed()
    assert refusal(SignedRequest("POST", request.target, request.headers, b"{}")) == "InvalidSignatureException"


def test_a_header_of_amazons_that_is_not_signed_is_refused() -> None:
    request = signed()
    changed = SignedRequest("POST", request.target, {**request.headers, "x-amz-invocation-type": "Event"}, request.body)
    assert refusal(changed) == "InvalidSignatureException"


def test_no_signature_at_all_is_a_missing_token() -> None:
    assert refusal(SignedRequest("GET", "/", {"host": "h"}, b"")) == "MissingAuthenticationTokenException"


@pytest.mark.parametrize("header", ["Bearer x", "AWS4-HMAC-SHA256 Credential=a", "AWS4-HMAC-SHA256 \xff"])
def test_a_malformed_header_is_refused_and_breaks_nothing(header: str) -> None:
    request = SignedRequest("GET", "/", {"host": "h", "authorization": header}, b"")
    assert refusal(request) == "IncompleteSignatureException"


@pytest.mark.parametrize("query", ["X-Amz-Signature=a", "X-Amz-Signature=a&X-Amz-Algorithm=AWS4-HMAC-SHA256"])
def test_a_malformed_presigned_request_is_refused(query: str) -> None:
    assert refusal(SignedRequest("GET", f"/?{query}", {"host": "h"}, b"")) == "InvalidSignatureException"


@pytest.mark.parametrize(
    "value", ["", "x", "\u00e9", "\x00", "\u0665", "\u00b2", "%", "%ZZ", "%FF", "A" * 5000, "9" * 5000, "-1", "1e3"]
)
@pytest.mark.parametrize(
    "name",
    ["X-Amz-Signature", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Algorithm"],
)
def test_an_odd_presigned_value_is_refused(name: str, value: str) -> None:
    request = signed(presign=True)
    path, _, query = request.target.partition("?")
    pairs = [pair for pair in query.split("&") if not pair.startswith(f"{name}=")]
    for form in (f"{name}={value}", f"{name}={quote(value)}"):
        target = f"{path}?{'&'.join([*pairs, form])}"
        refusal(SignedRequest("POST", target, request.headers, request.body))


@pytest.mark.parametrize("name", ["authorization", "x-amz-date", "x-amz-content-sha256", "host"])
@pytest.mark.parametrize("value", ["", "x", "\u00e9\u00ff", "\x00", "A" * 5000, "AWS4-HMAC-SHA256 \u00e9"])
def test_an_odd_header_is_refused(name: str, value: str) -> None:
    request = signed()
    refusal(SignedRequest("POST", request.target, {**request.headers, name: value}, request.body))
