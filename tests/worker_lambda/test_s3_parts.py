"""Files that are stored in parts."""

from __future__ import annotations

import os

import pytest
from s3_server import PASSING, failure, never

from worker_lambda._s3 import S3, S3Cancelled


@pytest.fixture
def parted(server):
    client = S3("us-east-1", server.url, back_off=0.001, part_size=100_000)
    yield client
    client.close()


@pytest.mark.parametrize("fault", [None, *PASSING])
def test_a_big_file_is_stored_in_parts_and_each_outlives_faults_that_pass(server, parted, tmp_path, fault):
    data = os.urandom(250_001)
    (tmp_path / "in").write_bytes(data)
    server.script = [action for _ in range(5) for action in ([PASSING[fault]] * 4 if fault else []) + [None]]
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


def test_a_file_that_shrinks_while_it_is_read_is_named(server, parted, tmp_path):
    path = tmp_path / "in"
    path.write_bytes(bytes(250_001))
    server.script = [None, lambda h: (os.truncate(path, 10), h.refuse(500, "InternalError", "again"))]
    assert "became shorter" in failure(parted.put, "b", b"k", str(path), never)
    assert not server.uploads
