"""object_server hands an object of S3 to a program on the same machine, which asks for parts of it by plain HTTP.

So ffmpeg reads what it wants of a film: a static one resolves no host names and checks no certificate, and would say
the URL, which is a secret, in its errors. It runs in the function, on Python's standard library alone.
"""

from __future__ import annotations

import http.client
import re
import secrets
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

TRIES = 4
"""Of each part."""
TIMEOUT = 30.0
"""Seconds without a byte."""
FIRST_BLOCK, LARGEST_BLOCK = 64 << 10, 4 << 20
"""Bytes of a part: few at first, as an index is read in small pieces here and there."""
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_CONTENT_RANGE = re.compile(r"bytes [0-9]+-[0-9]+/([0-9]+)")


class ObjectServer:
    """Serves one object on loopback, until it is closed.

    :param url: of the object, presigned.
    :param pause: seconds before the second try of a part; each further one waits twice as long.
    :ivar address: where a program finds it, a URL that is no secret outside this machine.
    :ivar fault: why a part could not be had, on one line without the URL; empty as long as there is none.
    """

    def __init__(self, url: str, *, pause: float = 0.5) -> None:
        self._url = urlsplit(url)
        self._pause = pause
        self._path = f"/{secrets.token_hex(16)}"
        self.fault = ""
        self.size = 0
        served = self

        class Handler(_ObjectHandler):
            source = served
            path_wanted = self._path

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}{self._path}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> ObjectServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def connect(self) -> http.client.HTTPConnection:
        """A connection to where the object is."""
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(self._url.hostname or "", self._url.port, timeout=TIMEOUT)

    def part(self, connection: http.client.HTTPConnection, first: int, count: int) -> bytes | None:
        """Bytes of the object, fewer at its end; None if they cannot be had: then there is a fault.

        :param connection: kept between parts.
        """
        target = f"{self._url.path}?{self._url.query}" if self._url.query else self._url.path
        why = ""
        for tried in range(TRIES):
            if tried:
                time.sleep(self._pause * 2 ** (tried - 1))
            try:
                connection.request("GET", target, headers={"Range": f"bytes={first}-{first + count - 1}"})
                response = connection.getresponse()
                data = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                why = f"{type(error).__name__}: {getattr(error, 'strerror', None) or 'the connection broke off'}"
                continue
            found = _CONTENT_RANGE.fullmatch(response.getheader("Content-Range") or "")
            if response.status == 206 and found is not None:
                self.size = int(found[1])
                return data
            if response.status == 416:
                return b""
            why = f"S3 answers {response.status} {response.reason}"
            if response.status < 500 and response.status != 429:
                break
        self.fault = self.fault or why
        return None


class _ObjectHandler(BaseHTTPRequestHandler):
    source: ObjectServer
    path_wanted: str
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Send the bytes from where they are asked for, until no more are wanted."""
        self.close_connection = True
        wanted = _RANGE.fullmatch(self.headers.get("Range") or "bytes=0-")
        if self.path != self.path_wanted or wanted is None:
            self.send_error(404)
            return
        connection = self.source.connect()
        try:
            self._send(connection, int(wanted[1]), int(wanted[2]) if wanted[2] else None)
        finally:
            connection.close()

    def _send(self, connection: http.client.HTTPConnection, at: int, last: int | None) -> None:
        data, block = self.source.part(connection, at, FIRST_BLOCK), FIRST_BLOCK
        if data is None:
            self.send_error(502)
            return
        size = self.source.size
        if not data:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        end = size if last is None else min(size, last + 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {at}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - at))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        with suppress(OSError):  # it has read enough, and reads elsewhere
            while data:
                self.wfile.write(data[: end - at])
                at += len(data)
                if at >= end:
                    return
                block = min(2 * block, LARGEST_BLOCK)
                data = self.source.part(connection, at, block)
