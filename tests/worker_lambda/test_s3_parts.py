"""Files that are stored in parts."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib

import pytest
from s3_server import TRANSIENT, Handler, failure, never

from worker_lambda.s3 import S3, S3Cancelled


@pytest.fixture
def parted(server):
    client = S3("us-east-1", server.url, back_off=0.001, timeout=180.0, part_size=100_000)
    yield client
    client.close()


@pytest.mark.parametrize("fault", [None, *TRANSIENT])
def test_a_big_file_is_stored_in_parts_and_each_outlives_faults_that_pass(server, parted, tmp_path, fault):
    data = os.urandom(250_001)
    (tmp_path / "in").write_bytes(data)
    server.script = [action for _ in range(5) for action in ([TRANSIENT[fault]] * 4 if fault else []) + [None]]
    parted.put("b", b"k //+", str(tmp_path / "in"), never)
    assert server.objects == {b"/b/k //+": data}
    assert not server.uploads
    assert [method for _, method, *_ in server.requests if fault is None] in (["POST", "PUT", "PUT", "PUT", "POST"], [])


@pytest.mark.parametrize(("good", "status"), [(1, 403), (2, 403), (4, 403), (4, 200)])
def test_parts_of_an_upload_that_failed_are_dropped(server, parted, tmp_path, good, status):
    (tmp_path / "in").write_bytes(bytes(250_001))
    server.script = [None] * good + [lambda h: h.refuse(status, "AccessDenied", "Access <Error> Denied")]
    assert "AccessDenied" in failure(parted.put, "b", b"k", str(tmp_path / "in"), never)
    assert server.requests[-1][1:3] == ("DELETE", "/b/k?uploadId=a%26b")
    assert not server.uploads
    assert not server.objects


def test_parts_of_an_upload_that_was_cancelled_are_dropped(server, parted, tmp_path):
    (tmp_path / "in").write_bytes(bytes(250_001))
    with pytest.raises(S3Cancelled):
        parted.put("b", b"k", str(tmp_path / "in"), lambda: len(server.requests) >= 2)
    assert not server.uploads
    assert server.requests[-1][1] == "DELETE"


@pytest.mark.parametrize("same", ["etag", "sum", None])
def test_a_completion_whose_answer_was_lost_is_known_by_what_is_there(server, parted, tmp_path, same):
    data = os.urandom(250_001)
    (tmp_path / "in").write_bytes(data)
    sums = [hashlib.md5(data[at : at + 100_000]).digest() for at in (0, 100_000, 200_000)]
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()
    server.head = {
        "etag": {"etag": f'"{hashlib.md5(b"".join(sums)).hexdigest()}-3"'},
        "sum": {"etag": '"other"', "x-amz-checksum-crc32": crc, "x-amz-checksum-type": "FULL_OBJECT"},
        None: {"etag": '"other"', "x-amz-checksum-crc32": crc, "x-amz-checksum-type": "COMPOSITE"},
    }[same]
    server.completed = Handler.lose
    if same is None:
        assert "NoSuchUpload" in failure(parted.put, "b", b"k", str(tmp_path / "in"), never)
    else:
        parted.put("b", b"k", str(tmp_path / "in"), never)
        assert [method for _, method, *_ in server.requests[-3:]] == ["POST", "POST", "HEAD"]


def test_an_upload_that_is_gone_and_did_not_become_an_object_is_a_failure(server, parted, tmp_path):
    (tmp_path / "in").write_bytes(bytes(250_001))
    gone = [lambda h: h.refuse(404, "NoSuchUpload", "gone"), lambda h: h.answer(404, b"", {})]
    server.script = [None] * 4 + gone
    assert "NoSuchUpload" in failure(parted.put, "b", b"k", str(tmp_path / "in"), never)


def test_a_file_that_shrinks_while_it_is_read_is_named(server, parted, tmp_path):
    path = tmp_path / "in"
    path.write_bytes(bytes(250_001))
    server.script = [None, lambda h: (os.truncate(path, 10), h.refuse(500, "InternalError", "again"))]
    assert "became shorter" in failure(parted.put, "b", b"k", str(path), never)
    assert not server.uploads
