"""What an answer is read as."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.jobs import ACCEPTED, Answer, Fault
from mu_twisted.launch import _launch
from mu_twisted.launch._answers import LONGEST_REASON, read_answers
from mu_twisted.launch._region import proxy_for

TOKEN = "IQoJb3JpZ2luX2VjEJv" * 20
KEYS = AccessKeys("AKID", "a-secret-of-ours", TOKEN)
URL = "https://lambda.example"


def read(status=400, body=b"", *, error="", retry_after=None, reason=""):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    result = _launch.Result(("id", status, reason, error, retry_after, body))
    return read_answers([result], URL, KEYS)[0]


def test_accepted_has_no_reason():
    assert read(ACCEPTED) == Answer("id", ACCEPTED, "")


@pytest.mark.parametrize(
    ("status", "fault"),
    [(_launch.NO_ANSWER, Fault.NO_ANSWER), (_launch.NEVER, Fault.NEVER)],
)
def test_no_answer_names_the_endpoint(status, fault):
    assert read(status, reason="it broke\n") == Answer("id", 0, f"{URL}: it broke", fault=fault)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"message": "m"}, "E: m"),
        ({"Message": "m"}, "E: m"),
        ({"message": "m", "Reason": "R"}, "E: m (R)"),
        ({"message": None, "Reason": "R"}, "E: (R)"),
        ([], "E"),
        (b"\xff<html>", "E"),
        (b"[" * 2000, "E"),
    ],
)
def test_awss_words_are_found_where_they_stand(body, reason):
    assert read(400, body, error="E").reason == reason


def test_the_errors_name_is_taken_from_the_body_where_no_header_has_it():
    assert read(400, {"__type": "com.amazonaws#Bad", "message": "m"}).reason == "Bad: m"
    assert read(418).reason == "HTTP 418"


@pytest.mark.parametrize(
    ("header", "said", "wait"),
    [
        (None, "7", 7.0),
        (None, 2.5, 2.5),
        (3.0, "1", 3.0),
        (3.0, "soon", 3.0),
        (None, float("inf"), None),
        (None, "nan", None),
        (None, -1, None),
        (None, [], None),
        (None, 10**400, None),
        (None, 1e300, 3600.0),
    ],
)
def test_how_long_to_wait_is_in_a_header_or_in_the_body(header, said, wait):
    assert read(429, {"retryAfterSeconds": said}, retry_after=header).retry_after == wait


@pytest.mark.parametrize("error", ["ExpiredTokenException", "ExpiredToken"])
def test_an_expired_token_is_known_by_name_or_by_words(error):
    assert read(403, error=error).fault is Fault.EXPIRED
    words = {"message": "The security token included in the request is expired"}
    assert read(403, words).fault is Fault.EXPIRED
    assert read(403, {"message": "Signature expired"}, error="InvalidSignatureException").fault is None
    assert read(400, error=error).fault is None


@pytest.mark.parametrize(
    "reason",
    [
        "ReservedFunctionConcurrentInvocationLimitExceeded",
        "ReservedFunctionInvocationRateLimitExceeded",
        "CallerRateLimitExceeded",
    ],
)
def test_why_lambda_throttles_is_shown(reason):
    told = read(429, {"message": "Rate Exceeded.", "Reason": reason}, error="TooManyRequestsException").reason
    assert told == f"TooManyRequestsException: Rate Exceeded. ({reason})"


NAMES = st.sampled_from(["message", "Message", "Reason", "__type", "code", "retryAfterSeconds"])
VALUES = st.none() | st.floats() | st.text() | st.sampled_from([TOKEN, KEYS.secret_key])
BODIES = st.recursive(VALUES, lambda more: st.dictionaries(NAMES, more)).map(lambda value: json.dumps(value).encode())


@given(
    status=st.integers(200, 999),
    body=st.binary(max_size=300) | BODIES,
    error=st.text(max_size=20),
)
def test_whatever_comes_the_reason_is_one_bounded_line_without_secrets(status, body, error):
    answer = read(status, body, error="".join(filter(str.isalnum, error)))
    assert answer.reason.isprintable()
    assert len(answer.reason) <= 2 * LONGEST_REASON + 100
    assert TOKEN not in answer.reason
    assert KEYS.secret_key not in answer.reason
    assert bool(answer.reason) == (status != ACCEPTED)
    assert answer.retry_after is None or 0 <= answer.retry_after <= 3600


def test_the_environments_proxy_is_used_but_never_for_loopback(monkeypatch):
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_for("https://lambda.us-east-1.amazonaws.com") is None
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert proxy_for("https://lambda.us-east-1.amazonaws.com") == "http://proxy:3128"
    assert proxy_for("https://127.0.0.1:1") is proxy_for("https://localhost") is proxy_for("https://[::1]:1") is None
    monkeypatch.setenv("no_proxy", ".amazonaws.com")
    assert proxy_for("https://lambda.us-east-1.amazonaws.com") is None
