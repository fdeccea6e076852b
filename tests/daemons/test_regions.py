"""A job in two regions, whose launches go through an endpoint that is both regions', and throttles one if told so."""

import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from gate import Gate

pytestmark = pytest.mark.process


class Front(ThreadingHTTPServer):
    """Passes requests on to the embedded Lambda, which takes any region; knows the region by the signature."""

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(behind).netloc
        self.throttling = ""
        self.gate = Gate()
        self.expected = 0
        self._launched: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    @property
    def launched(self) -> Counter[tuple[str, str]]:
        """How many launches each function in a region has taken."""
        return Counter(self._launched)

    def took(self, region: str, function: str) -> None:
        """A launch was taken; with the last that is expected the gate opens."""
        with self._lock:
            self._launched.append((region, function))
            if len(self._launched) == self.expected:
                self.gate.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Front
    protocol_version = "HTTP/1.1"
    kept: ClassVar[set[str]] = {"content-type", "x-amzn-errortype", "x-amzn-requestid"}

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        region = re.search(r"Credential=[^/]+/\d+/([^/]+)/", self.headers["Authorization"])
        assert region is not None
        launching = re.fullmatch(r".*/functions/([^/]+)/invocations", self.path)
        if launching and region[1] == self.server.throttling:
            self._say(429, {"X-Amzn-ErrorType": "TooManyRequestsException"}, b'{"message": "Rate exceeded"}')
            return
        line = http.client.HTTPConnection(self.server.behind, timeout=180)
        try:
            line.request(self.command, self.path, body, dict(self.headers.items()))
            answer = line.getresponse()
            told = {name: value for name, value in answer.getheaders() if name.lower() in self.kept}
            data = answer.read()
        finally:
            line.close()
        if launching and answer.status == 202:
            self.server.took(region[1], launching[1])
        self._say(answer.status, told, data)

    do_GET = do_POST = _pass_on

    def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def front(local: Any) -> Iterator[Front]:
    server = Front(local.stack.lambda_endpoint)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with server.gate:
        yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(coordinate: Any, local: Any, front: Front, tasks: int, *words: str) -> Any:
    """A job none of whose tasks ends before all launches are where they belong, so that no worker does two of them."""
    front.expected = tasks
    keys = {"AWS_ACCESS_KEY_ID": local.stack.access_key, "AWS_SECRET_ACCESS_KEY": local.stack.secret_key}
    endpoints = ["--endpoint-url", front.url, "--s3-endpoint-url", local.stack.s3_endpoint]
    job = ["-b", local.BUCKET, "-l", local.FUNCTION, "-r", "us-east-1,eu-west-1", *words]
    return coordinate("-t", "0", *endpoints, "exec", "-n", str(tasks), *job, "--", front.gate.command, **keys)


def test_the_workers_are_split_over_the_regions(coordinate: Any, local: Any, front: Front) -> None:
    ended = run(coordinate, local, front, 5)
    assert (ended.status, "places" in ended.err) == (0, False)
    assert front.launched == {("us-east-1", "worker"): 3, ("eu-west-1", "worker"): 2}


def test_a_region_that_throttles_hands_its_share_on_and_that_is_said(coordinate: Any, local: Any, front: Front) -> None:
    front.throttling = "eu-west-1"
    ended = run(coordinate, local, front, 6)
    assert (ended.status, "6 of 6 tasks done" in ended.out) == (0, True), ended.err
    assert front.launched == {("us-east-1", "worker"): 6}
    assert re.search("worker in eu-west-1 passes launches on to .*: .*TooManyRequestsException", ended.err)


def test_a_copy_that_was_not_deployed_is_said_and_the_others_have_its_share(
    coordinate: Any, local: Any, front: Front
) -> None:
    ended = run(coordinate, local, front, 4, "--copies", "2")
    assert (ended.status, "4 of 4 tasks done" in ended.out) == (0, True), ended.err
    assert front.launched == {("us-east-1", "worker"): 2, ("eu-west-1", "worker"): 2}
    for region in ("us-east-1", "eu-west-1"):
        assert f"there is no function worker-2 in {region}" in ended.err
