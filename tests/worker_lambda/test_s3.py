"""The S3 client against a server that checks each signature with botocore and misbehaves as it is asked to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from free_ports import refusing_port
from hypothesis import given
from hypothesis import strategies as st
from s3_server import SECRET, TRANSIENT, TRANSIENT_GET, Handler, failure, never

from worker_lambda.s3 import S3, S3Cancelled
from worker_lambda.s3._exchange import pause_after

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "key", [b"plain", b"a//b", b"/lead", b"a+b c", "ü/漢".encode(), b"\xff\xfe", b"./../x", b"100%", b"a?b#c&d", b"~"]
)
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_what_is_put_under_a_key_is_got_from_it(server, s3, tmp_path, key, size):
    data = os.urandom(size)
    (tmp_path / "in").write_bytes(data)
    s3.put("bucket", key, str(tmp_path / "in"), never)
    assert server.objects == {b"/bucket/" + key: data}
    s3.get("bucket", key, str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_one_connection_serves_one_transfer_after_the_other(server, s3, tmp_path):
    server.objects[b"/b/k"] = b"x"
    server.script = [None, lambda h: h.refuse(404, "NoSuchKey", "gone"), None]
    s3.get("b", b"k", str(tmp_path / "a"), never)
    failure(s3.get, "b", b"k", str(tmp_path / "b"), never)
    s3.get("b", b"k", str(tmp_path / "c"), never)
    assert len({client for client, *_ in server.requests}) == 1


def test_a_kept_connection_that_was_closed_meanwhile_costs_no_try(server, tmp_path):
    server.objects[b"/b/k"] = b"x"
    once = S3("us-east-1", server.url, tries=1)
    once.get("b", b"k", str(tmp_path / "a"), never)
    server.script = [Handler.reset]
    once.get("b", b"k", str(tmp_path / "b"), never)
    once.close()
    assert len(server.requests) == 3


def test_transfers_run_in_several_threads_at_once(server, s3, tmp_path):
    data = {b"k%d" % number: os.urandom(50_000 + number) for number in range(8)}
    server.objects = {b"/b/" + key: value for key, value in data.items()}
    threads = [threading.Thread(target=s3.get, args=("b", key, str(tmp_path / key.decode()), never)) for key in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert {path.name.encode(): path.read_bytes() for path in tmp_path.iterdir()} == data


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "NoSuchKey", "The specified key does not exist."),
        (403, "AccessDenied", "Access Denied"),
        (404, "NoSuchBucket", "Gone &amp; \n lost" + "x" * 2000),
    ],
)
def test_a_refusal_is_said_once_with_the_servers_code_and_message(server, s3, tmp_path, status, code, message):
    server.script = [lambda h: h.refuse(status, code, message)] * 9
    text = failure(s3.get, "bucket", b"the/key", str(tmp_path / "out"), never)
    assert text.startswith(f"cannot get bucket/the/key: {status} {code}: {message[:4]}")
    assert len(server.requests) == 1
    assert not list(tmp_path.iterdir())


def test_a_refusal_that_is_no_xml_shows_its_status(server, s3, tmp_path):
    server.script = [lambda h: h.answer(418, b"\x00<html>" * 100, {})]
    assert "418" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)


def test_a_refused_upload_says_what_and_why(server, s3, tmp_path):
    (tmp_path / "in").write_bytes(b"x")
    server.script = [lambda h: h.refuse(403, "AccessDenied", "Access Denied")]
    text = failure(s3.put, "b", b"k\n\xff", str(tmp_path / "in"), never)
    assert text == "cannot put b/k\\n\\xff: 403 AccessDenied: Access Denied"


@pytest.mark.parametrize("fault", TRANSIENT_GET)
def test_a_download_outlives_faults_that_pass(server, s3, tmp_path, fault):
    server.objects[b"/b/k"] = b"whole"
    server.script = [TRANSIENT_GET[fault]] * 4
    s3.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == b"whole"


@pytest.mark.parametrize("fault", TRANSIENT)
def test_an_upload_outlives_faults_that_pass(server, s3, tmp_path, fault):
    (tmp_path / "in").write_bytes(b"whole" * 1000)
    server.script = [TRANSIENT[fault]] * 4
    s3.put("b", b"k", str(tmp_path / "in"), never)
    assert server.objects == {b"/b/k": b"whole" * 1000}


@pytest.mark.parametrize("fault", TRANSIENT_GET)
def test_a_fault_that_stays_ends_after_five_tries_with_the_old_file_untouched(server, s3, tmp_path, fault):
    (tmp_path / "out").write_bytes(b"old")
    server.script = [TRANSIENT_GET[fault]] * 9
    assert "(tried 5 times)" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    assert len(server.requests) == 5
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@given(st.integers(1, 60), st.floats(0, 100), st.floats(0, 1))
def test_pauses_are_random_up_to_a_bound_that_doubles_and_ends(tried, back_off, random):
    longest = pause_after(tried, back_off, 1.0)
    assert pause_after(tried, back_off, 0.0) == 0
    assert pause_after(tried, back_off, random) == random * longest
    assert longest <= 8
    assert pause_after(tried + 1, back_off, 1.0) == min(8, 2 * longest)


def test_a_checksum_over_parts_is_not_taken_for_one_over_the_object(server, s3, tmp_path):
    server.script = [lambda h: h.answer(200, b"parts", {"x-amz-checksum-crc32": "AAAAAA==-2"})]
    s3.get("b", b"k", str(tmp_path / "out"), never)
    server.script = [
        lambda h: h.answer(200, b"parts", {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "COMPOSITE"})
    ]
    s3.get("b", b"k", str(tmp_path / "out"), never)


def test_a_chunked_body_is_read_whole(server, s3, tmp_path):
    def chunked(h: Handler) -> None:
        h.send_response(200)
        h.send_header("transfer-encoding", "chunked")
        h.end_headers()
        h.wfile.write(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")

    server.script = [chunked]
    server.objects[b"/b/k"] = b"next"
    s3.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == b"hello world"
    s3.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == b"next"
    assert len({client for client, *_ in server.requests}) == 1


def test_a_body_of_unknown_length_is_refused(server, s3, tmp_path):
    def endless(h: Handler) -> None:
        h.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nsome")
        h.close_connection = True

    server.script = [endless]
    assert "Content-Length" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)


def test_a_server_that_answers_nothing_is_given_up_after_the_timeout(server, tmp_path):
    released = threading.Event()
    server.script = [lambda h: released.wait(180)] * 2
    s3 = S3("us-east-1", server.url, tries=2, back_off=0.001, timeout=0.1)
    try:
        assert "no answer in 0.1 s (tried 2 times)" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    finally:
        released.set()


def test_an_address_that_no_server_has_says_so(server, tmp_path):
    with refusing_port() as port:
        s3 = S3("us-east-1", f"http://127.0.0.1:{port}", back_off=0.001)
        assert "Connection refused (tried 5 times)" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)


def test_a_cancelled_download_leaves_nothing(server, s3, tmp_path):
    released = threading.Event()
    begun = threading.Event()

    def stall(h: Handler) -> None:
        h.answer(200, b"x" * 1000, {}, length=2000)
        begun.set()
        released.wait(180)

    server.script = [stall]
    try:
        with pytest.raises(S3Cancelled, match="cannot get b/k: cancelled"):
            s3.get("b", b"k", str(tmp_path / "out"), begun.is_set)
    finally:
        released.set()
    assert not list(tmp_path.iterdir())


def test_a_cancelled_upload_stops_before_its_end(server, s3, tmp_path):
    (tmp_path / "in").write_bytes(bytes(3_000_000))
    polls = iter([False] * 15)
    with pytest.raises(S3Cancelled):
        s3.put("b", b"k", str(tmp_path / "in"), lambda: next(polls, True))
    assert not server.objects


def test_a_cancelled_wait_between_tries_ends_at_once(server, tmp_path):
    server.script = [TRANSIENT["503"]]
    s3 = S3("us-east-1", server.url, back_off=1000.0)
    with pytest.raises(S3Cancelled):
        s3.get("b", b"k", str(tmp_path / "out"), lambda: len(server.requests) > 0)
    s3.close()


def test_local_faults_are_one_line_and_reach_no_server(server, s3, tmp_path):
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for path, reason in [
        (tmp_path / "missing" / "out", "No such file or directory"),
        (tmp_path / "directory", "not a regular file"),
        (tmp_path / "fifo", "not a regular file"),
        (Path("/dev/null"), "not a regular file"),
        (Path("/proc/none"), "cannot write"),
    ]:
        assert reason in failure(s3.get, "b", b"k", str(path), never)
    assert "null" in failure(s3.get, "b", b"k", f"{tmp_path}/a\0b", never)
    for path, reason in [
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path / "directory", "not a regular file"),
        (tmp_path / "fifo", "not a regular file"),
    ]:
        assert reason in failure(s3.put, "b", b"k", str(path), never)
    assert "bucket is empty" in failure(s3.get, "", b"k", str(tmp_path / "out"), never)
    assert "key is empty" in failure(s3.get, "b", b"", str(tmp_path / "out"), never)
    assert not server.requests


def test_credentials_are_read_at_each_request_and_their_absence_is_named(server, s3, tmp_path, monkeypatch):
    server.objects[b"/b/k"] = b"x"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "SignatureDoesNotMatch" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_SECRET_ACCESS_KEY" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    s3.get("b", b"k", str(tmp_path / "out"), never)


def test_no_message_shows_a_credential(server, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret\nheader: injected")
    text = failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    assert "AWS_ACCESS_KEY_ID" in text
    assert "secret" not in text
    assert not server.requests


def test_importing_the_client_brings_none_of_what_a_transfer_needs():
    heavy = {"http.client", "email", "urllib.parse", "ssl", "hashlib", "socket", "asyncio", "botocore", "pathlib"}
    program = (
        "import sys, mu_twisted.wire; old = set(sys.modules)\n"
        "import worker_lambda.s3\n"
        f"print(*sorted((set(sys.modules) - old) & {heavy!r}))"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == "\n"
