"""A function's package looked into from afar, by a server that knows ranges and by one that does not."""

import http.server
import io
import threading
import zipfile
from collections.abc import Iterator

import pytest

from mu_twisted.aws import AWSError
from mu_twisted.aws._code import files_in_package


def package() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("big", b"x" * 300_000)
        archive.writestr("xc-enc", b"y")
        archive.writestr("mu_twisted/wire/_frames.py", b"z")
    return held.getvalue()


class Server(http.server.ThreadingHTTPServer):
    body = package()
    ranges = True
    sent = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        if self.path != "/package":
            self.send_error(403)
            return
        data, size = server.body, len(server.body)
        if server.ranges:
            low, high = (int(end) for end in self.headers["Range"].removeprefix("bytes=").split("-"))
            data = data[low : high + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {low}-{high}/{size}")
        else:
            self.send_response(200)
        server.sent += len(data)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("ranges", [True, False])
def test_the_files_are_named(server: Server, ranges: bool) -> None:
    server.ranges = ranges
    url = f"http://127.0.0.1:{server.server_port}/package"
    assert files_in_package(url, "fn") == {"big", "xc-enc", "mu_twisted/wire/_frames.py"}


def test_only_the_end_of_a_large_package_is_fetched(server: Server) -> None:
    files_in_package(f"http://127.0.0.1:{server.server_port}/package", "fn")
    assert server.sent < len(server.body) // 2


@pytest.mark.parametrize("path", ["/gone?X-Amz-Signature=secret", "/package"])
def test_what_cannot_be_looked_into_is_one_line_without_the_address(server: Server, path: str) -> None:
    server.body = b"no zip"
    with pytest.raises(AWSError) as caught:
        files_in_package(f"http://127.0.0.1:{server.server_port}{path}", "fn")
    assert "function fn" in str(caught.value)
    assert "secret" not in str(caught.value)
