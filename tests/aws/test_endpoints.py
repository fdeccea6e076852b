"""Where Lambda and S3 are."""

from pathlib import Path

import botocore.session
import pytest

from mu_twisted.aws import AWSError, check_region, lambda_endpoint, s3_endpoint
from mu_twisted.aws._endpoints import _by_botocore, _regions, partition_of
from mu_twisted.launch._launchpar import _endpoint
from worker_lambda.s3._address import locate


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("us-east-1", "https://lambda.us-east-1.amazonaws.com"),
        ("cn-north-1", "https://lambda.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "https://lambda.us-gov-west-1.amazonaws.com"),
    ],
)
def test_endpoints_of_every_partition_come_from_botocores_data(region: str, url: str) -> None:
    assert lambda_endpoint(region, environ={}) == url


@pytest.mark.parametrize("name", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "HOME"])
def test_what_aws_has_is_known_whatever_the_hosts_configuration_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".aws").mkdir()
    for broken in ("config", "credentials"):
        (tmp_path / ".aws" / broken).write_text("[profile x\nfoo")
    values = {"AWS_CONFIG_FILE": str(tmp_path / ".aws" / "config"), "HOME": str(tmp_path)}
    monkeypatch.setenv(name, values.get(name, "of-another-machine"))
    for known in (_regions, partition_of, _by_botocore):
        known.cache_clear()
    check_region("eu-west-1")
    assert partition_of("cn-north-1") == "aws-cn"
    assert lambda_endpoint("eu-west-1", "http://127.0.0.1:1") == "http://127.0.0.1:1"
    with pytest.raises(AWSError, match=r"^cannot read the AWS configuration: [^\n]*$"):
        lambda_endpoint("eu-west-1", environ={})  # how AWS's own is to be reached stands there
    assert _endpoint("eu-west-1") == "https://lambda.eu-west-1.amazonaws.com"


def test_an_unknown_region_names_the_nearest() -> None:
    for wrong in "eu-wset-1", "EU-WEST-1", "eu_west_1":
        with pytest.raises(AWSError, match="did you mean .*eu-west-1") as refused:
            check_region(wrong)
        assert refused.value.misuse


@pytest.mark.parametrize("wrong", ["mars-1", "moon", "x", ""])
def test_what_is_like_no_region_is_taken_for_none(wrong: str) -> None:
    with pytest.raises(AWSError, match=f"^Lambda has no region '{wrong}': expected one such as us-east-1$"):
        check_region(wrong)


def test_what_the_user_says_stands_before_the_environment_and_that_before_aws() -> None:
    environ = {"AWS_ENDPOINT_URL": "https://all", "AWS_ENDPOINT_URL_LAMBDA": "https://lambda/"}
    assert lambda_endpoint("us-east-1", "https://mine", environ) == "https://mine"
    assert lambda_endpoint("us-east-1", None, environ) == "https://lambda"
    assert s3_endpoint(None, environ) == "https://all"
    assert s3_endpoint(None, {}) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000"])
def test_plain_http_is_taken_to_loopback(url: str) -> None:
    assert s3_endpoint(url, {}) == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://192.0.2.1", "http://example.com", "ftp://x", "nonsense", "http://"),
        *("https://[::1", "https://h:x", "https://h:65536", "https://::1]"),
    ],
)
def test_plain_http_to_another_machine_and_nonsense_are_refused(url: str) -> None:
    with pytest.raises(AWSError):
        s3_endpoint(url, {})


def test_workers_ask_the_s3_that_botocore_would_ask_in_every_region() -> None:
    """The worker has no botocore: its table of domains is held against botocore's data here."""
    session = botocore.session.get_session()
    partitions = session.get_available_partitions()
    regions = [region for name in partitions for region in session.get_available_regions("s3", name)]
    assert {"us-east-1", "cn-north-1", "us-gov-west-1"} < set(regions)
    for region in regions:
        client = session.create_client("s3", region_name=region, aws_access_key_id="-", aws_secret_access_key="-")
        known = client.meta.endpoint_url.replace("//s3.amazonaws.com", "//s3.us-east-1.amazonaws.com")  # two names
        origin, _ = locate("bucket.with.dots", b"key", region, None)
        assert f"{origin.scheme}://{origin.host}" == known
