"""Our signatures against botocore's, for whatever key, bucket, query and token."""

from __future__ import annotations

import datetime
from unittest import mock

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st

from worker_lambda.s3 import S3Error
from worker_lambda.s3._address import endpoint_of, locate
from worker_lambda.s3._sigv4 import EMPTY_SHA256, UNSIGNED, authorization, canonical_query, presigned_query, quote_key

NOW = datetime.datetime(2026, 2, 3, 4, 5, 6)  # noqa: DTZ001  botocore's own clock is naive

KEYS = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.text(min_size=1, max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text("a+ /.~%?#&=ü\t", min_size=1, max_size=30).map(str.encode),
)
TOKENS = st.one_of(st.none(), st.text("abcXYZ019+/=", min_size=1, max_size=300))
SECRETS = st.text("abcXYZ019+/", min_size=1, max_size=50)
QUERIES = st.lists(st.tuples(st.text(min_size=1, max_size=8).filter(str.isprintable), st.text(max_size=8)), max_size=4)
ENDPOINTS = st.sampled_from([None, "http://127.0.0.1:8333", "https://s3.example.com", "http://[::1]:80", "https://h/p"])


@given(
    KEYS,
    st.sampled_from(["bucket", "with.dots", "UPPER_case", "a b+ü"]),
    ENDPOINTS,
    TOKENS,
    SECRETS,
    QUERIES,
    st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1"]),
    st.sampled_from(["GET", "PUT"]),
)
@example(b"a//b/../c d+e%20\xff", "bucket", None, "token+/=", "secret", [], "us-east-1", "GET")
@example(b"//", "with.dots", "http://[::1]:80", None, "secret", [("uploads", "")], "us-east-1", "PUT")
def test_a_signature_equals_botocores(key, bucket, endpoint, token, secret, query, region, method):
    origin, path = locate(bucket, key, region, endpoint)
    sent = canonical_query(query)
    payload = UNSIGNED if origin.scheme == "https" and method == "PUT" else EMPTY_SHA256
    headers = {"x-amz-checksum-mode": "ENABLED"}
    if payload == UNSIGNED:
        headers["Content-MD5"] = "1B2M2Y8AsgTpgAmY7PhCfg=="
    request = AWSRequest(method, f"{origin.scheme}://{origin.header}{path}{'?' * bool(sent)}{sent}", dict(headers))
    request.context["has_streaming_input"] = payload == UNSIGNED
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=NOW):
        botocore.auth.S3SigV4Auth(Credentials("AKID", secret, token), "s3", region).add_auth(request)

    ours = {name.lower(): value for name, value in headers.items()}
    ours |= {"host": origin.header, "x-amz-date": "20260203T040506Z", "x-amz-content-sha256": payload}
    if token:
        ours["x-amz-security-token"] = token
    value = authorization(method, path, sent, ours, region=region, access_key="AKID", secret_key=secret)

    assert request.headers["X-Amz-Content-SHA256"] == payload
    assert value == request.headers["Authorization"]


@given(KEYS, st.sampled_from(["bucket", "with.dots", "a b+ü"]), ENDPOINTS, TOKENS, SECRETS, st.integers(1, 604_800))
def test_a_presigned_url_equals_botocores(key, bucket, endpoint, token, secret, seconds):
    origin, path = locate(bucket, key, "eu-central-1", endpoint)
    url = f"{origin.scheme}://{origin.header}{path}"
    request = AWSRequest("GET", url)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=NOW):
        botocore.auth.S3SigV4QueryAuth(Credentials("AKID", secret, token), "s3", "eu-central-1", seconds).add_auth(
            request
        )
    ours = presigned_query(
        path,
        origin.header,
        "20260203T040506Z",
        seconds,
        region="eu-central-1",
        access_key="AKID",
        secret_key=secret,
        token=token or "",
    )
    whole, _, query = request.url.partition("?")
    assert whole == url
    assert sorted(ours.split("&")) == sorted(query.split("&"))


def test_each_byte_of_a_key_is_encoded_once_and_nothing_is_normalised():
    assert quote_key(b"a//b/./../c d+e%20~\xc3\xbc\xff") == "a//b/./../c%20d%2Be%2520~%C3%BC%FF"


@pytest.mark.parametrize(
    ("bucket", "region", "endpoint", "url"),
    [
        ("bucket", "us-east-1", None, "https://bucket.s3.us-east-1.amazonaws.com/k"),
        ("bucket", "cn-north-1", None, "https://bucket.s3.cn-north-1.amazonaws.com.cn/k"),
        ("with.dots", "us-east-1", None, "https://s3.us-east-1.amazonaws.com/with.dots/k"),
        ("Upper", "us-east-1", None, "https://s3.us-east-1.amazonaws.com/Upper/k"),
        ("ab", "us-east-1", None, "https://s3.us-east-1.amazonaws.com/ab/k"),
        ("a/../b?#", "us-east-1", None, "https://s3.us-east-1.amazonaws.com/a%2F..%2Fb%3F%23/k"),
        ("bucket", "garage", "http://127.0.0.1:8333/", "http://127.0.0.1:8333/bucket/k"),
        ("bucket", "us-east-1", "https://h:443/p/q/", "https://h/p/q/bucket/k"),
        ("bucket", "us-east-1", "http://[::1]:99", "http://[::1]:99/bucket/k"),
    ],
)
def test_the_bucket_is_in_the_host_at_aws_where_it_can_be_and_else_in_the_path(bucket, region, endpoint, url):
    origin, path = locate(bucket, b"k", region, endpoint)
    assert f"{origin.scheme}://{origin.header}{path}" == url


@pytest.mark.parametrize("region", ["", "x", "us-east-1/..", "us-east-1.evil.example", "a@b", "US-EAST-1", "us-1\n"])
def test_a_region_that_is_none_gets_into_no_host_name(region):
    with pytest.raises(S3Error, match="not the name of an AWS region"):
        locate("bucket", b"k", region, None)


@pytest.mark.parametrize("endpoint", ["localhost:80", "ftp://h", "http://", "http://h:99999", "http://[::1", "//h"])
def test_an_endpoint_that_is_no_url_is_named(endpoint):
    with pytest.raises(S3Error, match="endpoint"):
        locate("bucket", b"k", "us-east-1", endpoint)


@pytest.mark.parametrize("host", ["s3.example.com", "10.0.0.1", "127.0.0.1.example.com", "[2001:db8::1]"])
def test_plain_http_leaves_this_machine_never(host):
    with pytest.raises(S3Error, match="plain http is for loopback, use https"):
        locate("bucket", b"k", "us-east-1", f"http://{host}:9000")


def test_the_given_endpoint_goes_before_s3s_and_that_before_the_general_one():
    environment = {"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_ENDPOINT_URL": "http://all"}
    assert endpoint_of("http://given", environment) == "http://given"
    assert endpoint_of(None, environment) == "http://s3"
    assert endpoint_of(None, {"AWS_ENDPOINT_URL": "http://all"}) == "http://all"
    assert endpoint_of(None, {}) is None
