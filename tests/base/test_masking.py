"""What is taken out of texts that others have written, and what is not."""

import base64
import random
import string

import pytest

from mu_twisted.base.masking import masked

BASE64 = string.ascii_letters + string.digits + "+/"


@pytest.mark.parametrize(
    "text",
    [
        "TooManyRequestsException: Rate Exceeded. (ReservedFunctionConcurrentInvocationLimitExceeded)",
        "TooManyRequestsException: Rate Exceeded. (ReservedFunctionInvocationRateLimitExceeded)",
        "ConcurrentSnapshotCreateLimitExceededException",
        "ResourceConflictException: The function is currently in the following state: Pending",
        "Unable to parse config file: /home/somebody/projects/2024/mu/tests/configuration/aws/config",
        "/usr/local/lib/python3/dist/packages/botocore/data/endpoints/json",
        "Function not found: arn:aws:lambda:us-east-1:123456789012:function:mufunctionwithaverylongnamethatgoesonandon",
        "Function not found: TheFunctionOfTheDepartmentForTranscodingVideos2024",
        "User: arn:aws:sts::123456789012:assumed-role/TheCoordinatorsRoleInProduction/botocoresession16999999",
        "s3://bucket/mu/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.zip",
        "The security token included in the request is invalid.",
        "The request signature we calculated does not match the signature you provided. Check your key.",
        "password: check it",
        "x" * 500,
        "=" * 60 + "/" * 60,
        "0123456789" * 6,
        "",
    ],
)
def test_words_names_and_paths_are_shown_whatever_their_length(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("length", [40, 60, 100, 356, 1000])
def test_what_was_drawn_at_random_is_not(length: int) -> None:
    chance = random.Random(length)
    for _ in range(200):
        secret = "".join(chance.choices(BASE64, k=length))
        assert masked(f"the key {secret} is wrong") == "the key ... is wrong"
        assert masked(f"({base64.b64encode(chance.randbytes(length)).decode()})") == "(...)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "..."),
        ("https://h/f?X-Amz-Signature=aaaaaaaaaaaaaaaa&a=1", "https://h/f?X-Amz-Signature=...&a=1"),
        ("https://h/f?a=1&X-Amz-Security-Token=IQoJb3JpZ2lu%2FX2Vj%3D", "https://h/f?a=1&X-Amz-Security-Token=..."),
        ("got 'http://user:pw@host:1/a'", "got 'http://...@host:1/a'"),
        ("https://pw@h?a=b@c s3://b/x@y https://h/x@y", "https://...@h?a=b@c s3://b/x@y https://h/x@y"),
        ("AWS_SECRET_ACCESS_KEY='abcdefgh'", "AWS_SECRET_ACCESS_KEY='...'"),
        ("aws_secret_access_key = abcdefghijkl", "aws_secret_access_key = ..."),
        (
            '{"SecretAccessKey": "aaaaaaaaaa", "SessionToken":"bbbbbbbbbb"}',
            '{"SecretAccessKey": "...", "SessionToken":"..."}',
        ),
        (
            "Credential=AKIDEXAMPLE/20260101/us-east-1/lambda/aws4_request, Signature=5d672d79",
            "Credential=..., Signature=...",
        ),
    ],
)
def test_a_key_is_known_by_its_form_or_by_what_stands_before_it(text: str, shown: str) -> None:
    assert masked(text) == shown
