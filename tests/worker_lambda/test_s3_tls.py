"""Over TLS: payloads, certificates."""

from __future__ import annotations

import base64
import datetime
import os
import zlib

import pytest
from s3_server import failure, never

from mu_twisted.tls import Authority
from worker_lambda.s3 import S3


@pytest.fixture
def secure(server, tmp_path):
    authority = Authority.generate()
    pair = authority.issue(None, hosts=["127.0.0.1"], lifetime=datetime.timedelta(hours=1))
    (tmp_path / "pair.pem").write_bytes(pair.certificate + pair.key)
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    server.secure(str(tmp_path / "pair.pem"))
    return server.url


def test_over_tls_the_payload_has_a_checksum_in_place_of_a_signature(server, secure, tmp_path, monkeypatch):
    data = os.urandom(1_000_000)
    (tmp_path / "in").write_bytes(data)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    s3 = S3("us-east-1", secure)
    s3.put("b", b"k", str(tmp_path / "in"), never)
    s3.get("b", b"k", str(tmp_path / "out"), never)
    s3.close()
    assert (tmp_path / "out").read_bytes() == data
    headers = server.requests[0][3]
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert headers["x-amz-checksum-crc32"] == base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()


def test_a_certificate_that_is_not_trusted_or_for_another_host_ends_it_at_once(server, secure, tmp_path, monkeypatch):
    target = str(tmp_path / "out")
    assert "certificate verify failed" in failure(S3("us-east-1", secure).get, "b", b"k", target, never)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    elsewhere = secure.replace("127.0.0.1", "localhost")
    assert "Hostname mismatch" in failure(S3("us-east-1", elsewhere).get, "b", b"k", target, never)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing"))
    assert "AWS_CA_BUNDLE" in failure(S3("us-east-1", secure).get, "b", b"k", target, never)
    assert not server.requests
