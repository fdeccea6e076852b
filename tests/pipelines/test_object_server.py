"""What ffmpeg is given of an object in S3: each range as it is, and one line where it cannot be had."""

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.cli.faces.object_server import FIRST_BLOCK, ObjectServer

DATA = bytes(range(256)) * 4000
"""More than a few parts."""


class Handler(BaseHTTPRequestHandler):
    """An S3 of one object; ``faults`` come before answers, the last one first."""

    protocol_version = "HTTP/1.1"
    faults: list[int] = []
    targets: list[str] = []

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.targets.append(self.path)
        fault = self.faults.pop() if self.faults else None
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert found is not None
        first, last = int(found[1]), min(int(found[2]), len(DATA) - 1)
        if fault == 0:
            self.close_connection = True
            return
        status = fault or (206 if first < len(DATA) else 416)
        body = DATA[first : last + 1] if status == 206 else b"<Error/>"
        self.send_response(status)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(DATA)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(*faults: int) -> Iterator[ObjectServer]:
    Handler.faults, Handler.targets = list(faults), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s3:
        s3.daemon_threads = True
        threading.Thread(target=s3.serve_forever, args=(0.02,), daemon=True).start()
        try:
            url = f"http://127.0.0.1:{s3.server_address[1]}/b/a%20film?X-Amz-Signature=abc"
            with ObjectServer(url, pause=0.01) as served:
                yield served
        finally:
            s3.shutdown()


def get(served: ObjectServer, wanted: str | None) -> tuple[int, bytes]:
    host, _, path = served.address.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=180)
    try:
        connection.request("GET", f"/{path}", headers={} if wanted is None else {"Range": wanted})
        response = connection.getresponse()
        return response.status, response.read()
    except (ConnectionError, http.client.IncompleteRead) as error:
        return 0, getattr(error, "partial", b"")
    finally:
        connection.close()


@pytest.fixture(scope="module")
def whole() -> Iterator[ObjectServer]:
    with serving() as served:
        yield served


@given(st.integers(0, len(DATA) - 1), st.integers(0, 2 * FIRST_BLOCK) | st.none())
def test_each_range_is_as_it_is_in_the_object(whole: ObjectServer, first: int, count: int | None) -> None:
    last = "" if count is None else str(first + count)
    status, data = get(whole, f"bytes={first}-{last}")
    assert status == 206
    assert data == (DATA[first:] if count is None else DATA[first : first + count + 1])


def test_the_object_is_asked_for_by_its_url_and_served_at_an_address_of_its_own(whole: ObjectServer) -> None:
    assert get(whole, None) == (206, DATA)
    assert set(Handler.targets) == {"/b/a%20film?X-Amz-Signature=abc"}
    assert "Signature" not in whole.address
    host, _, path = whole.address.rpartition("/")
    assert get(whole, "bytes=9-8,7")[0] == 404
    whole.address, address = f"{host}/{path[:-1]}", whole.address
    assert get(whole, None)[0] == 404
    whole.address = address
    assert get(whole, f"bytes={len(DATA)}-") == (416, b"")
    assert not whole.fault


def test_what_may_pass_is_tried_again() -> None:
    with serving(0, 503, 429) as served:
        assert get(served, None) == (206, DATA)
        assert not served.fault


@pytest.mark.parametrize(("faults", "said"), [([403], "S3 answers 403 Forbidden"), ([0, 0, 0, 0], "Disconnected")])
def test_what_cannot_be_had_ends_the_answer_and_is_one_line(faults: list[int], said: str) -> None:
    with serving(*faults) as served:
        assert get(served, None)[0] == 502
        assert said in served.fault
        assert "X-Amz" not in served.fault
        assert "\n" not in served.fault


def test_an_answer_that_has_begun_ends_early() -> None:
    with serving(403, 206) as served:
        status, data = get(served, None)
        assert data
        assert (status, data) == (0, DATA[: len(data)])
        assert "403" in served.fault
