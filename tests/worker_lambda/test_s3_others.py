"""The client beside boto3 against servers of others: SeaweedFS, which checks signatures, and moto."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer
from s3_server import ACCESS, SECRET, failure, never

from mu_twisted.local import start
from mu_twisted.local._s3_programs import find_weed
from worker_lambda.s3 import S3, S3Cancelled, S3Error

MIB = 1024 * 1024


class Other(NamedTuple):
    """A server of others.

    :param checks: whether it looks at signatures.
    """

    url: str
    access_key: str
    secret_key: str
    region: str
    checks: bool

    def boto3(self):
        config = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"})
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=config,
        )


@pytest.fixture(scope="module", params=["seaweedfs", "moto"])
def other(request, tmp_path_factory):
    if request.param == "moto":
        moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        moto.start()
        host, port = moto.get_host_and_port()
        yield Other(f"http://{host}:{port}", ACCESS, SECRET, "us-east-1", False)
        moto.stop()
        return
    if find_weed() is None:
        pytest.skip("SeaweedFS is not installed")
    running = start(tmp_path_factory.mktemp("state"), options=["--s3=seaweedfs"])
    stack = running.stack
    yield Other(stack.s3_endpoint, stack.access_key, stack.secret_key, stack.region, True)
    running.stop()


@pytest.fixture(scope="module")
def reference(other):
    client = other.boto3()
    client.create_bucket(Bucket="bucket")
    yield client
    client.close()


@pytest.fixture
def client(other, reference, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", other.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", other.secret_key)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    client = S3(other.region, other.url, back_off=0.01, timeout=180.0, part_size=5 * MIB, range_size=2 * MIB)
    yield client
    client.close()


@pytest.mark.parametrize("key", ["plain", "a b+ü//c", "a//b", "100%", "a?b#c&d=e", "~-_.", "漢/字", "a'(b)*!;:@,$"])
@pytest.mark.parametrize("size", [0, 1, 700_000])
def test_what_one_stores_the_other_fetches(other, reference, client, tmp_path, key, size):
    if "//" in key and other.checks:
        pytest.skip("SeaweedFS folds such keys, and the local stack refuses them")
    data = os.urandom(size)
    (tmp_path / "in").write_bytes(data)
    client.put("bucket", key.encode(), str(tmp_path / "in"), never)
    assert reference.get_object(Bucket="bucket", Key=key)["Body"].read() == data
    reference.put_object(Bucket="bucket", Key=key, Body=data[::-1])
    client.get("bucket", key.encode(), str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == data[::-1]


def test_a_large_object_goes_up_in_parts_and_comes_down_in_ranges(reference, client, tmp_path):
    data = os.urandom(11 * MIB + 12_345)
    (tmp_path / "in").write_bytes(data)
    client.put("bucket", b"large", str(tmp_path / "in"), never)
    head = reference.head_object(Bucket="bucket", Key="large")
    assert head["ETag"].endswith('-3"'), "it was stored in parts"
    assert head["ContentLength"] == len(data)
    client.get("bucket", b"large", str(tmp_path / "out"), never)
    assert hashlib.sha1((tmp_path / "out").read_bytes()).digest() == hashlib.sha1(data).digest()
    with reference.get_object(Bucket="bucket", Key="large")["Body"] as body:
        assert hashlib.sha1(body.read()).digest() == hashlib.sha1(data).digest()


def test_a_large_object_that_is_replaced_while_it_is_fetched_is_never_a_mixture(reference, client, tmp_path):
    size = 12 * MIB
    reference.put_object(Bucket="bucket", Key="changing", Body=b"a" * size)
    calls = 0

    def cancelled() -> bool:
        nonlocal calls
        calls += 1
        if calls == 20:
            reference.put_object(Bucket="bucket", Key="changing", Body=b"b" * size)
        return False

    try:
        client.get("bucket", b"changing", str(tmp_path / "out"), cancelled)
    except S3Error as error:
        assert "replaced" in str(error) or "body ended" in str(error)  # noqa: PT017
    else:
        assert len(set((tmp_path / "out").read_bytes())) == 1
    assert calls >= 20


def test_a_cancelled_upload_in_parts_leaves_none_of_them(reference, client, tmp_path):
    (tmp_path / "in").write_bytes(bytes(16 * MIB))
    calls = 0

    def cancelled() -> bool:
        nonlocal calls
        calls += 1
        return bool(reference.list_multipart_uploads(Bucket="bucket").get("Uploads")) and calls > 60

    with pytest.raises(S3Cancelled):
        client.put("bucket", b"cancelled", str(tmp_path / "in"), cancelled)
    assert not reference.list_multipart_uploads(Bucket="bucket").get("Uploads")
    assert not reference.list_objects_v2(Bucket="bucket", Prefix="cancelled").get("Contents")


@pytest.mark.parametrize("key", [b"dir/", b"dir/sub/", b"a//b/"])
def test_what_is_stored_under_a_key_like_a_directorys_is_kept_or_refused(client, tmp_path, key):
    (tmp_path / "in").write_bytes(b"whole")
    try:
        client.put("bucket", key, str(tmp_path / "in"), never)
    except S3Error:
        return
    client.get("bucket", key, str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == b"whole"


def test_what_is_not_there_is_named_as_the_server_names_it(client, tmp_path):
    (tmp_path / "in").write_bytes(b"x")
    assert "404 NoSuchKey: " in failure(client.get, "bucket", b"none", str(tmp_path / "out"), never)
    assert "404 NoSuchBucket: " in failure(client.get, "nobucket", b"none", str(tmp_path / "out"), never)
    assert "404 NoSuchBucket: " in failure(client.put, "nobucket", b"none", str(tmp_path / "in"), never)


def test_a_wrong_secret_is_refused(other, client, tmp_path, monkeypatch):
    if not other.checks:
        pytest.skip("this server does not look at signatures")
    (tmp_path / "in").write_bytes(b"x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "403 SignatureDoesNotMatch: " in failure(client.put, "bucket", b"k", str(tmp_path / "in"), never)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOBODY")
    assert "403 InvalidAccessKeyId: " in failure(client.get, "bucket", b"k", str(tmp_path / "out"), never)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
