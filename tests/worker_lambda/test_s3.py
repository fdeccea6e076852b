"""The S3 client against a server that checks each signature with botocore and misbehaves as it is told."""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.server
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from urllib.parse import unquote_to_bytes

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import ThreadedMotoServer

from mu_twisted.tls import Authority
from worker_lambda._s3 import S3, S3Cancelled, S3Error

ACCESS, SECRET, TOKEN = "AKID", "se/cr+et", "tok/en+=="
ROOT = Path(__file__).parents[2]


def never() -> bool:
    return False


class Handler(http.server.BaseHTTPRequestHandler):
    """An S3 of one dictionary. Each request first takes one behaviour from ``server.script``, where there is one."""

    protocol_version = "HTTP/1.1"
    timeout = 20
    disable_nagle_algorithm = True

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self._accepted(b""):
            data = self.server.objects.get(self._key())
            if data is None:
                self.refuse(404, "NoSuchKey", "The specified key does not exist.")
            else:
                crc = base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()
                self.answer(200, data, {"x-amz-checksum-crc32": crc})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self._accepted(body):
            part = re.search(r"\?partNumber=(\d+)&uploadId=a%26b$", self.path)
            if part:
                self.server.uploads["a&b"][int(part[1])] = body
            else:
                self.server.objects[self._key()] = body
            self.answer(200, b"", {"etag": f'"{hashlib.md5(body).hexdigest()}"'})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self._accepted(body):
            path, _, query = self.path.partition("?")
            if query == "uploads=":
                self.server.uploads["a&b"] = {}
                self.answer(200, b"<R><Bucket>b</Bucket><UploadId>a&amp;b</UploadId></R>", {})
                return
            parts = self.server.uploads.pop("a&b")
            named = re.findall(rb"<PartNumber>(\d+)</PartNumber><ETag>&quot;(\w+)&quot;</ETag>", body)
            assert query == "uploadId=a%26b"
            assert [(int(number), etag.decode()) for number, etag in named] == [
                (number, hashlib.md5(parts[number]).hexdigest()) for number in sorted(parts)
            ]
            self.server.objects[unquote_to_bytes(path)] = b"".join(parts[number] for number in sorted(parts))
            self.answer(200, b"<CompleteMultipartUploadResult/>", {})

    def do_DELETE(self) -> None:
        if self._accepted(b""):
            del self.server.uploads["a&b"]
            self.answer(204, b"", {})

    def answer(self, status: int, body: bytes, headers: dict[str, str], *, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    def refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
        self.answer(status, body.encode(), headers or {})

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _key(self) -> bytes:
        return unquote_to_bytes(self.path)

    def _accepted(self, body: bytes) -> bool:
        self.server.requests.append((self.client_address, self.command, self.path, dict(self.headers)))
        if self.server.script:
            action = self.server.script.pop(0)
            if action is not None:
                action(self)
                return False
        fault = self._fault(body)
        if fault:
            self.refuse(403, "SignatureDoesNotMatch", fault)
        return not fault

    def _fault(self, body: bytes) -> str:
        """What is wrong with the signature, by botocore's own signer."""
        given = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/s3/aws4_request, SignedHeaders=(\S+), Signature=\w{64}",
            self.headers["authorization"],
        )
        if given is None:
            return "malformed"
        if self.headers["x-amz-content-sha256"] != hashlib.sha256(body).hexdigest():
            return "payload"
        if self.command == "PUT" and base64.b64decode(self.headers["x-amz-checksum-crc32"]) != zlib.crc32(
            body
        ).to_bytes(4):
            return "checksum"
        if given[3] != self.server.region:
            return "region"
        headers = {name: self.headers[name] for name in given[4].split(";") if name != "host"}
        for name in ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token"):
            if headers.pop(name, None) is None:
                return f"{name} is not signed"
        request = AWSRequest(self.command, f"http://{self.headers['host']}{self.path}", headers, data=body)
        signer = botocore.auth.S3SigV4Auth(Credentials(ACCESS, SECRET, TOKEN), "s3", self.server.region)
        stamp = self.headers["x-amz-date"]
        signer._modify_request_before_signing = lambda request: None
        request.context["timestamp"] = stamp
        request.headers["X-Amz-Date"] = stamp
        request.headers["X-Amz-Security-Token"] = TOKEN
        request.headers["X-Amz-Content-SHA256"] = self.headers["x-amz-content-sha256"]
        signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        return "" if self.headers["authorization"].endswith(f"Signature={signature}") else "signature"


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[bytes, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.script: list = []
        self.requests: list = []
        self.region = "us-east-1"
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    for name, value in (("ACCESS_KEY_ID", ACCESS), ("SECRET_ACCESS_KEY", SECRET), ("SESSION_TOKEN", TOKEN)):
        monkeypatch.setenv(f"AWS_{name}", value)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def s3(server):
    client = S3("us-east-1", server.url, back_off=0.001, timeout=5.0)
    yield client
    client.close()


def failure(call, *arguments) -> str:
    with pytest.raises(S3Error) as caught:
        call(*arguments)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 900
    return text


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
        thread.join(20)
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


PASSING = {
    "500": lambda h: h.refuse(500, "InternalError", "We encountered an internal error."),
    "503": lambda h: h.refuse(503, "SlowDown", "Please reduce your request rate."),
    "400 RequestTimeout": lambda h: h.refuse(400, "RequestTimeout", "Your socket was idle."),
    "reset": Handler.reset,
    "closed": lambda h: setattr(h, "close_connection", True),
    "garbage": lambda h: (h.wfile.write(b"nonsense\r\n\r\n"), setattr(h, "close_connection", True)),
}
PASSING_GET = {
    **PASSING,
    "short": lambda h: h.answer(200, b"x" * 10, {}, length=300_000),
    "empty": lambda h: h.answer(200, b"", {}, length=5),
    "damaged": lambda h: h.answer(200, b"damaged", {"x-amz-checksum-crc32": "AAAAAA=="}),
    "damaged sha256": lambda h: h.answer(200, b"damaged", {"x-amz-checksum-sha256": "AAAAAA=="}),
}


@pytest.mark.parametrize("fault", PASSING_GET)
def test_a_download_outlives_faults_that_pass(server, s3, tmp_path, fault):
    server.objects[b"/b/k"] = b"whole"
    server.script = [PASSING_GET[fault]] * 4
    s3.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == b"whole"


@pytest.mark.parametrize("fault", PASSING)
def test_an_upload_outlives_faults_that_pass(server, s3, tmp_path, fault):
    (tmp_path / "in").write_bytes(b"whole" * 1000)
    server.script = [PASSING[fault]] * 4
    s3.put("b", b"k", str(tmp_path / "in"), never)
    assert server.objects == {b"/b/k": b"whole" * 1000}


@pytest.mark.parametrize("fault", PASSING_GET)
def test_a_fault_that_stays_ends_after_five_tries_with_the_old_file_untouched(server, s3, tmp_path, fault):
    (tmp_path / "out").write_bytes(b"old")
    server.script = [PASSING_GET[fault]] * 9
    assert "(tried 5 times)" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    assert len(server.requests) == 5
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


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


@pytest.mark.parametrize(
    "answer",
    [
        lambda h: h.refuse(301, "PermanentRedirect", "elsewhere", {"x-amz-bucket-region": "eu-west-3"}),
        lambda h: h.refuse(307, "TemporaryRedirect", "elsewhere", {"x-amz-bucket-region": "eu-west-3"}),
        lambda h: h.answer(
            400, b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>", {}
        ),
    ],
    ids=["301", "307", "400"],
)
def test_a_bucket_in_another_region_is_found_once_and_remembered(server, s3, tmp_path, answer):
    server.region = "eu-west-3"
    server.objects[b"/b/k"] = b"there"
    server.script = [answer]
    s3.get("b", b"k", str(tmp_path / "out"), never)
    s3.get("b", b"k", str(tmp_path / "out"), never)
    assert len(server.requests) == 3


def test_a_temporary_redirect_is_followed_and_signed_for_its_host(server, s3, tmp_path):
    other = Server()
    thread = threading.Thread(target=other.serve_forever, args=(0.02,))
    thread.start()
    try:
        server.script = [
            lambda h: h.refuse(307, "TemporaryRedirect", "there", {"location": f"{other.url}{h.path}?a=b"})
        ]
        (tmp_path / "in").write_bytes(b"moved")
        s3.put("b", b"k +", str(tmp_path / "in"), never)
        assert other.objects == {b"/b/k +": b"moved"}
        assert not server.objects
    finally:
        other.shutdown()
        other.server_close()
        thread.join()


@pytest.mark.parametrize("location", ["http://localhost:1/b/k", "https://127.0.0.1:1/b/k", "http://x.amazonaws.com/"])
def test_a_redirect_to_a_foreign_host_is_not_followed(server, s3, tmp_path, location):
    server.script = [lambda h: h.refuse(307, "TemporaryRedirect", "there", {"location": location})]
    assert "307 TemporaryRedirect" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)


def test_redirects_in_a_circle_end(server, s3, tmp_path):
    server.script = [lambda h: h.refuse(307, "TemporaryRedirect", "here", {"location": f"{server.url}/b/k"})] * 9
    assert "307" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    assert len(server.requests) == 4


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


def test_a_server_that_answers_nothing_is_given_up_after_the_timeout(server, tmp_path):
    released = threading.Event()
    server.script = [lambda h: released.wait(10)] * 2
    s3 = S3("us-east-1", server.url, tries=2, back_off=0.001, timeout=0.1)
    try:
        assert "no answer in 0.1 s (tried 2 times)" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    finally:
        released.set()


def test_an_address_that_nobody_serves_says_so(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    s3 = S3("us-east-1", f"http://127.0.0.1:{port}", back_off=0.001)
    assert "Connection refused (tried 5 times)" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)


def test_a_cancelled_download_leaves_nothing(server, s3, tmp_path):
    released = threading.Event()
    begun = threading.Event()

    def stall(h: Handler) -> None:
        h.answer(200, b"x" * 1000, {}, length=2000)
        begun.set()
        released.wait(10)

    server.script = [stall]
    try:
        with pytest.raises(S3Cancelled, match="cannot get b/k: cancelled"):
            s3.get("b", b"k", str(tmp_path / "out"), begun.is_set)
    finally:
        released.set()
    assert not list(tmp_path.iterdir())


def test_a_cancelled_upload_stops_before_its_end(server, s3, tmp_path):
    (tmp_path / "in").write_bytes(bytes(3_000_000))
    asked = iter([False] * 15)
    with pytest.raises(S3Cancelled):
        s3.put("b", b"k", str(tmp_path / "in"), lambda: next(asked, True))
    assert not server.objects


def test_a_cancelled_wait_between_tries_ends_at_once(server, tmp_path):
    server.script = [PASSING["503"]]
    s3 = S3("us-east-1", server.url, back_off=1000.0)
    with pytest.raises(S3Cancelled):
        s3.get("b", b"k", str(tmp_path / "out"), lambda: len(server.requests) > 0)
    s3.close()


@pytest.fixture
def secure(server, tmp_path):
    authority = Authority.generate()
    pair = authority.issue(None, hosts=["127.0.0.1"], lifetime=datetime.timedelta(hours=1))
    (tmp_path / "pair.pem").write_bytes(pair.certificate + pair.key)
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    server.RequestHandlerClass = Unverified
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server.url.replace("http:", "https:")


class Unverified(Handler):
    def _fault(self, body: bytes) -> str:
        return ""


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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_one_line(server, s3, tmp_path):
    tmp_path.chmod(0o500)
    assert "Permission denied" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)


def test_a_full_disk_is_one_line_and_leaves_nothing(server, tmp_path):
    server.objects[b"/b/k"] = bytes(2_000_000)
    # RLIMIT_FSIZE stands for the disk: the system refuses the write in the same way, with another reason.
    program = (
        "import resource, signal, sys\n"
        "from worker_lambda._s3 import S3, S3Error\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000))\n"
        "try:\n    S3('us-east-1').get('b', b'k', sys.argv[1], lambda: False)\n"
        "except S3Error as error:\n    print(error)\n"
    )
    environment = {**os.environ, "AWS_ENDPOINT_URL_S3": server.url}
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert said.stdout == f"cannot get b/k: cannot write {tmp_path / 'out'}: File too large\n", said.stderr
    assert not list(tmp_path.iterdir())


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
        "import worker_lambda._s3\n"
        f"print(*sorted((set(sys.modules) - old) & {heavy!r}))"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == "\n"


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
