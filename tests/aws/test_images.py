"""Addresses of container images, as Lambda takes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.aws import ContainerImage, PackageError, parse_image

HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("uri", "region", "repository"),
    [
        (f"{HOST}/encoder:1", "us-east-1", "encoder"),
        (f"{HOST}/team/a_b.c-d/encoder:v1.2_x-3", "us-east-1", "team/a_b.c-d/encoder"),
        (f"{HOST}/e@{DIGEST}", "us-east-1", "e"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/e:latest", "cn-north-1", "e"),
        ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/e:latest", "us-gov-west-1", "e"),
        ("123456789012.dkr.ecr.{region}.amazonaws.com/e:latest", "ap-southeast-2", "e"),
    ],
)
def test_an_image_of_ecr_is_taken(uri: str, region: str, repository: str) -> None:
    assert parse_image(uri, region) == ContainerImage(uri.replace("{region}", region), region, repository)


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        (f"{HOST}/encoder", "names no version of the image: add :TAG"),
        ("encoder:1", "is no address of an image that Lambda takes"),
        ("", "is no address"),
        ("public.ecr.aws/lambda/python:3.13", "is no address"),
        (f"https://{HOST}/encoder:1", "is no address"),
        (f"{HOST}/Encoder:1", "is no address"),
        (f"{HOST}/encoder:", "is no address"),
        (f"{HOST}/encoder:-x", "is no address"),
        (f"{HOST}/encoder:{'x' * 129}", "is no address"),
        (f"{HOST}/encoder:1@{DIGEST}", "is no address"),
        (f"{HOST}/encoder@sha256:12", "is no address"),
        (f"{HOST}/encoder:1\n", "is no address"),
        (f"{HOST[1:]}/encoder:1", "is no address"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/e:1", "is in eu-west-1 and the function in us-east-1"),
        ("123456789012.dkr.ecr.{x}.amazonaws.com/e:1", "is no address"),
    ],
)
def test_what_lambda_would_not_take_is_one_line(uri: str, text: str) -> None:
    with pytest.raises(PackageError) as raised:
        parse_image(uri, "us-east-1")
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.text(max_size=600))
def test_any_text_is_an_image_or_one_line(uri: str) -> None:
    for text in (uri, f"{HOST}/{uri}", f"{HOST}/e:{uri}"):
        try:
            taken = parse_image(text, "us-east-1").uri
        except PackageError as error:
            taken = str(error)
        assert taken.isprintable()
        assert taken == text or "image" in taken
