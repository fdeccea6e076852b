"""Against servers of others."""

from __future__ import annotations

import os

import boto3
from moto.server import ThreadedMotoServer
from s3_server import ACCESS, SECRET, failure, never

from worker_lambda._s3 import S3


def test_the_client_and_boto3_understand_each_other_at_motos_s3(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        url = f"http://{host}:{port}"
        reference = boto3.client("s3", region_name="us-east-1", endpoint_url=url)
        reference.create_bucket(Bucket="bucket")
        s3 = S3("us-east-1", url)
        data = os.urandom(700_000)
        (tmp_path / "in").write_bytes(data)
        s3.put("bucket", "a b+ü//c".encode(), str(tmp_path / "in"), never)
        assert reference.get_object(Bucket="bucket", Key="a b+ü//c")["Body"].read() == data
        reference.put_object(Bucket="bucket", Key="back", Body=data[::-1])
        s3.get("bucket", b"back", str(tmp_path / "out"), never)
        assert (tmp_path / "out").read_bytes() == data[::-1]
        data *= 16
        (tmp_path / "in").write_bytes(data)
        parted = S3("us-east-1", url, part_size=5 * 1024 * 1024)
        parted.put("bucket", b"parts", str(tmp_path / "in"), never)
        parted.close()
        s3.get("bucket", b"parts", str(tmp_path / "out"), never)
        assert (tmp_path / "out").read_bytes() == data
        assert "NoSuchKey" in failure(s3.get, "bucket", b"none", str(tmp_path / "out"), never)
        s3.close()
        reference.close()
    finally:
        moto.stop()
