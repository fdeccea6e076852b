"""An S3 that checks each signature with botocore's signer and misbehaves as it is asked to."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import re
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote_to_bytes

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from worker_lambda.s3 import S3Error

ACCESS, SECRET, TOKEN = "AKID", "se/cr+et", "tok/en+=="


def etag_of(data: bytes) -> str:
    """As of an object that was put as one."""
    return f'"{hashlib.md5(data).hexdigest()}"'


def never() -> bool:
    """A transfer that is not cancelled."""
    return False


def failure(call: Callable[..., object], *arguments: object) -> str:
    """What it says when it fails: one line, not too long."""
    with pytest.raises(S3Error) as caught:
        call(*arguments)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 900
    return text


class Handler(http.server.BaseHTTPRequestHandler):
    """An S3 of one dictionary. Each request first does what ``server.choose`` has for it: in place of an answer."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 20
    disable_nagle_algorithm = True

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if not self._accepted(b""):
            return
        data = self.server.objects.get(self._key())
        if data is None:
            self.refuse(404, "NoSuchKey", "The specified key does not exist.")
            return
        etag = etag_of(data)
        if self.server.knows_if_match and self.headers.get("if-match", etag) != etag:
            self.refuse(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        elif self.range is None:
            crc = base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()
            self.answer(200, data, {"etag": etag, "x-amz-checksum-crc32": crc})
        else:
            first, last = self.range
            headers = {"etag": etag, "content-range": f"bytes {first}-{last}/{len(data)}"}
            self.answer(206, data[first : last + 1], headers)

    @property
    def range(self) -> tuple[int, int] | None:
        """First and last byte that are wanted."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return found and (int(found[1]), int(found[2]))

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self._accepted(body):
            part = re.search(r"\?partNumber=(\d+)&uploadId=a%26b$", self.path)
            if part:
                self.server.uploads["a&b"][int(part[1])] = body
            else:
                self.server.objects[self._key()] = body
            self.answer(200, b"", {"etag": etag_of(body)})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self._accepted(body):
            path, _, query = self.path.partition("?")
            if query == "uploads=":
                self.server.uploads["a&b"] = {}
                self.answer(200, b"<R><Bucket>b</Bucket><UploadId>a&amp;b</UploadId></R>", {})
                return
            assert query == "uploadId=a%26b"
            parts = self.server.uploads.pop("a&b", None)
            if parts is None:
                self.refuse(404, "NoSuchUpload", "The specified multipart upload does not exist.")
                return
            named = re.findall(rb"<PartNumber>(\d+)</PartNumber><ETag>&quot;(\w+)&quot;</ETag>", body)
            whole = b"".join(parts[number] for number in sorted(parts))
            assert [(int(number), etag.decode()) for number, etag in named] == [
                (number, hashlib.md5(parts[number]).hexdigest()) for number in sorted(parts)
            ]
            assert self.headers["x-amz-checksum-type"] == "FULL_OBJECT"
            assert self.headers["x-amz-checksum-crc32"] == base64.b64encode(zlib.crc32(whole).to_bytes(4)).decode()
            self.server.objects[unquote_to_bytes(path)] = whole
            self.server.completed(self)
            self.answer(200, b"<CompleteMultipartUploadResult/>", {})

    def do_HEAD(self) -> None:
        if self._accepted(b""):
            self.answer(200, b"", self.server.head)

    def do_DELETE(self) -> None:
        if self._accepted(b""):
            del self.server.uploads["a&b"]
            self.answer(204, b"", {})

    def answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        *,
        length: int | None = None,
        rest: Callable[[], bytes] = bytes,
    ) -> None:
        """An answer.

        :param length: another one than that of the body; the connection is closed after it then.
        :param rest: called when the body is sent; gives more of it.
        """
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.write(rest())
        if length is not None:
            self.close_connection = True

    def refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
        self.answer(status, body.encode(), headers or {})

    def lose(self) -> None:
        """Have the answer that follows get lost."""
        self.wfile = io.BytesIO()
        self.close_connection = True

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _key(self) -> bytes:
        return unquote_to_bytes(self.path)

    def _accepted(self, body: bytes) -> bool:
        with self.server.lock:
            self.server.requests.append((self.client_address, self.command, self.path, dict(self.headers)))
        action = self.server.choose(self)
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
        secure = self.server.url.startswith("https:") and self.command == "PUT"
        if self.headers["x-amz-content-sha256"] != ("UNSIGNED-PAYLOAD" if secure else hashlib.sha256(body).hexdigest()):
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
        scheme = self.server.url.partition(":")[0]
        request = AWSRequest(self.command, f"{scheme}://{self.headers['host']}{self.path}", headers, data=body)
        signer: Any = botocore.auth.S3SigV4Auth(Credentials(ACCESS, SECRET, TOKEN), "s3", self.server.region)
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
    request_queue_size = 64

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.objects: dict[bytes, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.script: list[Action | None] = []
        """One for each request, in turn; None: answer as it should."""
        self.choose: Callable[[Handler], Action | None] = lambda handler: self.script.pop(0) if self.script else None
        self.requests: list[tuple[Any, str, str, dict[str, str]]] = []
        self.lock = threading.Lock()
        self.region = "us-east-1"
        self.knows_if_match = True
        self.head: dict[str, str] = {}
        """Headers of any object, where only they are asked for."""
        self.completed: Callable[[Handler], object] = lambda handler: None
        """Called when an upload in parts is done, before the answer."""
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def secure(self, pair: str) -> None:
        """Speak TLS from now on, with the certificate and key in this file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


Action = Callable[[Handler], object]


@contextmanager
def serving(port: int = 0, pair: str | None = None) -> Iterator[Server]:
    """One more of them.

    :param pair: file with certificate and key, for TLS.
    """
    server = Server(port)
    if pair is not None:
        server.secure(pair)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _end_with(handler: Handler, data: bytes) -> None:
    handler.wfile.write(data)
    handler.close_connection = True


TRANSIENT: dict[str, Action] = {
    "500": lambda h: h.refuse(500, "InternalError", "We encountered an internal error."),
    "503": lambda h: h.refuse(503, "SlowDown", "Please reduce your request rate."),
    "400 RequestTimeout": lambda h: h.refuse(400, "RequestTimeout", "Your socket was idle."),
    "reset": Handler.reset,
    "closed": lambda h: setattr(h, "close_connection", True),
    "garbage": lambda h: _end_with(h, b"nonsense\r\n\r\n"),
}
TRANSIENT_GET: dict[str, Action] = {
    **TRANSIENT,
    "short": lambda h: h.answer(200, b"x" * 10, {}, length=300_000),
    "empty": lambda h: h.answer(200, b"", {}, length=5),
    "damaged": lambda h: h.answer(200, b"damaged", {"x-amz-checksum-crc32": "AAAAAA=="}),
    "damaged sha256": lambda h: h.answer(200, b"damaged", {"x-amz-checksum-sha256": "AAAAAA=="}),
}
