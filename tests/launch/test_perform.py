"""The C extension against a TLS endpoint: what it sends, and what it makes of every answer."""

import itertools
import json
import resource
import socket
import socketserver
import threading
import time
import urllib.parse
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest
from free_ports import refusing_port
from hypothesis import given
from hypothesis import strategies as st
from tls_endpoint import ACCEPTED, ACCESS, SECRET, TOKEN, Cut, botocore_signature, refusal

from mu_twisted.launch import _launch

KEYS = ("us-east-1", ACCESS, SECRET)
LIMIT = 180.0
"""Seconds after which what is waited for has failed to happen."""
LIMITS: dict[str, Any] = dict.fromkeys(("connect_timeout", "timeout", "tail_timeout"), LIMIT)


def batch(count: int, function: str = "worker") -> list[tuple[str, str, bytes]]:
    return [(f"b-{at}", function, json.dumps({"id": f"b-{at}"}).encode()) for at in range(count)]


def launcher(endpoint: Any, pool_size: int = 4, **more: Any) -> _launch.Launcher:
    """One that waits for an endpoint however slow it is, but for these."""
    return _launch.Launcher(endpoint.url, str(endpoint.ca), pool_size, **{**LIMITS, **more})


def test_each_launch_is_sent_once_as_an_event_and_comes_back_once(serve):
    endpoint = serve()
    results = launcher(endpoint).perform(batch(50), *KEYS)
    assert sorted(result.id for result in results) == sorted(f"b-{at}" for at in range(50))
    assert {tuple(result)[1:3] for result in results} == {(202, "")}
    assert sorted(endpoint.payloads) == sorted(payload for _, _, payload in batch(50))
    for request in endpoint.requests:
        assert request.path == "/2015-03-31/functions/worker/invocations"
        assert request.headers["X-Amz-Invocation-Type"] == "Event"
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["Accept"] == "*/*"


def late(seconds):
    """Accepts after so many seconds."""

    def answer(request):
        time.sleep(seconds)
        return ACCEPTED

    return answer


def test_as_many_connections_are_opened_as_the_batch_and_the_latency_are_worth(serve):
    endpoint = serve(late(0.005))
    ours = launcher(endpoint, 1000)
    for _ in range(4):
        assert len(ours.perform(batch(1), *KEYS)) == 1
    assert endpoint.connections == 1
    assert len(ours.perform(batch(400), *KEYS)) == 400
    assert 40 <= endpoint.connections < 400  # 400 of 5 ms are worth 52; it would take 300 ms to be worth all


def test_few_connections_are_opened_until_the_latency_was_measured_some_times(serve):
    seen: list[int] = []
    together = threading.Barrier(8, action=lambda: seen.append(endpoint.connections), timeout=LIMIT)
    order = itertools.count()

    def answer(request):
        at = next(order)
        if at < 2:
            time.sleep(0.6)  # a busy machine's: by these the endpoint is far
        elif at < 10:
            together.wait()
        return ACCEPTED

    endpoint = serve(answer)
    ours = launcher(endpoint, 64)
    for size in (1, 1, 400):
        assert len(ours.perform(batch(size), *KEYS)) == size
    assert seen == [8]


def test_where_the_first_answer_takes_its_time_the_others_do_not_wait_for_it(serve):
    waiting = threading.Barrier(4, timeout=LIMIT)

    def answer(request):
        waiting.wait()
        return ACCEPTED

    endpoint = serve(answer)
    assert {result.status for result in launcher(endpoint, 4).perform(batch(4), *KEYS)} == {202}


def test_later_connections_resume_sessions_of_earlier_ones(serve):
    endpoint = serve(late(0.02))
    ours = launcher(endpoint, 8)
    assert len(ours.perform(batch(1), *KEYS)) == 1
    assert len(ours.perform(batch(40), *KEYS)) == 40
    assert endpoint.connections == 8
    assert endpoint.resumed > 0


def test_connections_are_at_most_the_pool_and_are_kept_between_calls(serve):
    endpoint = serve(late(0.005))
    ours = launcher(endpoint, 4)
    for _ in range(5):
        assert len(ours.perform(batch(40), *KEYS)) == 40
    assert endpoint.connections == len({request.connection for request in endpoint.requests}) == 4


def test_a_session_token_is_sent_and_signed(serve):
    endpoint = serve(secrets={ACCESS: (SECRET, TOKEN)})
    ours = launcher(endpoint)
    assert {result.status for result in ours.perform(batch(3), *KEYS, TOKEN)} == {202}
    assert {request.headers["X-Amz-Security-Token"] for request in endpoint.requests} == {TOKEN}


def test_one_launcher_signs_for_a_new_token_secret_or_region_as_soon_as_it_is_given(serve):
    endpoint = serve()
    ours = launcher(endpoint)
    for region, secret, token in [
        ("us-east-1", "one", None),
        ("us-east-1", "two", TOKEN),
        ("eu-west-3", "two", None),
        ("us-east-1", "one", "t2"),
    ]:
        endpoint.region, endpoint.secrets = region, {ACCESS: (secret, token)}
        assert [result.status for result in ours.perform(batch(2), region, ACCESS, secret, token)] == [202, 202]


@pytest.mark.parametrize(
    "function",
    [
        "a" * 170,
        "arn:aws:lambda:us-east-1:123456789012:function:work:LIVE",
        "work:$LATEST",
        "mit Leerzeichen",
        "größe/../ü%2F?#&+~",
        "...",
    ],
)
def test_odd_function_names_are_percent_encoded_and_signed_as_botocore_does(serve, function):
    endpoint = serve()
    assert launcher(endpoint).perform(batch(1, function), *KEYS)[0].status == 202
    quoted = urllib.parse.quote(function, safe="")
    assert endpoint.requests[0].path == f"/2015-03-31/functions/{quoted}/invocations"


@pytest.mark.parametrize("function", ["", ".", "..", "a" * 257])
def test_what_is_no_function_name_is_never_sent(serve, function):
    endpoint = serve()
    assert launcher(endpoint).perform(batch(1, function), *KEYS)[0].status == _launch.NEVER
    assert not endpoint.requests


@pytest.mark.parametrize("payload", [b"", b"{}", bytes(range(256)), b"\0" * 70_000, b'"' + b"x" * 1_000_000 + b'"'])
def test_payload_bytes_arrive_as_they_are(serve, payload):
    endpoint = serve()
    assert launcher(endpoint).perform([("a", "f", payload)], *KEYS)[0].status == 202
    assert endpoint.payloads == [payload]


def test_the_mark_in_a_payload_becomes_the_launchs_identifier(serve):
    endpoint = serve()
    template = b'["##ID##", "#", "##ID", "###ID##", "##ID####ID##"]'
    items = [(f"long-identifier-{at}", "f", template) for at in range(3)]
    launcher(endpoint, 1).perform([*items, ("x", "f", template)], *KEYS)
    ids = [item[0].encode() for item in items] + [b"x"]
    assert sorted(endpoint.payloads) == sorted(template.replace(b"##ID##", launch_id) for launch_id in ids)


@given(
    payload=st.binary(max_size=300),
    function=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
        lambda name: name not in (".", "..")  # no names of functions, and never sent: see above
    ),
    secret=st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), min_size=1, max_size=200),
    token=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=1500),
    region=st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True),
    when=st.integers(0, 4_000_000_000),
)
def test_signatures_are_botocores(payload, function, secret, token, region, when):
    path = f"/2015-03-31/functions/{urllib.parse.quote(function, safe='')}/invocations"
    made = _launch.sign("h:1", path, region, payload, ACCESS, secret, token, timestamp=when)
    request = AWSRequest("POST", f"https://h:1{path}", data=payload)
    request.headers["Content-Type"] = "application/json"
    request.headers["X-Amz-Invocation-Type"] = "Event"
    moment = datetime.fromtimestamp(when, UTC)
    assert made["Authorization"].endswith(botocore_signature(request, secret, token, region, moment))
    assert made.get("X-Amz-Security-Token") == token


REFUSALS = {
    "throttled": refusal(429, "TooManyRequestsException", "Rate Exceeded.", retryAfterSeconds="7"),
    "slow down": (429, {"Retry-After": "3"}, b""),
    "broken": refusal(500, "ServiceException", "An error occurred"),
    "forbidden": refusal(403, "AccessDeniedException", "no"),
    "redirect": (307, {"Location": "/elsewhere"}, b""),
    "other success": (200, {}, b"hello"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusals_status_type_and_body_come_back(serve, name):
    status, headers, body = REFUSALS[name]
    endpoint = serve(lambda request: REFUSALS[name])
    result = launcher(endpoint).perform(batch(1), *KEYS)[0]
    assert (result.status, result.reason, result.body) == (status, "", body)
    assert result.error_type == headers.get("x-amzn-ErrorType", "").partition(":")[0]
    assert result.retry_after == (float(headers["Retry-After"]) if "Retry-After" in headers else None)
    assert len(endpoint.requests) == 1


CUTS = {
    "closed": Cut(),
    "reset": Cut(reset=True),
    "garbage": Cut(b"\x00\xff garbage\r\n\r\n" * 10),
    "old http": Cut(b"just a text"),
    "half a head": Cut(b"HTTP/1.1 202 Accepted\r\nContent-Le"),
    "endless head": Cut(b"HTTP/1.1 202 Accepted\r\n" + b"X: " + b"y" * 400_000),
}


@pytest.mark.parametrize("name", CUTS)
def test_what_is_no_answer_comes_back_without_a_status_and_with_a_reason(serve, name):
    def answer(request):
        raise CUTS[name]

    endpoint = serve(answer)
    result = launcher(endpoint).perform(batch(1), *KEYS)[0]
    assert result.status == _launch.NO_ANSWER
    assert result.reason
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("status", [202, 500])
def test_a_status_counts_though_the_body_is_cut(serve, status):
    def answer(request):
        raise Cut(b"HTTP/1.1 %d X\r\nContent-Length: 100\r\n\r\n{" % status)

    assert launcher(serve(answer)).perform(batch(1), *KEYS)[0].status == status


def test_a_body_is_not_read_beyond_a_bound_and_its_beginning_is_kept(serve):
    head, sent = b"HTTP/1.1 500 Oh\r\nContent-Length: 1000000000000\r\n\r\n", b"x" * 300_000
    done, over = threading.Event(), threading.Event()

    def answer(request):
        raise Cut(head + sent, after=lambda: done.wait(60) or over.set())

    result = launcher(serve(answer)).perform(batch(1), *KEYS)[0]
    done.set()
    assert (result.status, result.body) == (500, sent[:2048])
    assert not over.is_set(), "it waited for more"


ACCEPTANCE = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


class PlainEndpoint:
    """Answers requests without TLS by bytes that are given, in their order, and leaves connections open.

    :param answers: one for each request.
    :param reads_bodies: whether an answer waits for the whole request.
    """

    def __init__(self, *answers: bytes, reads_bodies: bool = True) -> None:
        self.answers = list(answers)
        self.reads_bodies = reads_bodies
        self.connections = 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while self.answers:
            with self.listening.accept()[0] as connection, connection.makefile("rb") as reader:
                self.connections += 1
                while self.answers and self._answer(connection, reader):
                    pass

    def _answer(self, connection: socket.socket, reader: Any) -> bool:
        size = 0
        while line := reader.readline().strip():
            name, _, value = line.partition(b":")
            if name == b"Content-Length":
                size = int(value)
        if not size:
            return False
        if self.reads_bodies:
            reader.read(size)
        connection.sendall(self.answers.pop(0))
        return True

    def end(self) -> None:
        self.thread.join(LIMIT)
        self.listening.close()


ANSWERS = {
    "plain": (b"HTTP/1.1 500 Oh\r\ncontent-length:\t5 \r\n\r\nhello", 500, b"hello", 1),
    "chunks": (
        b"HTTP/1.1 429\r\nTransfer-Encoding: Chunked\r\n\r\n5;a\r\nhello\r\n00a\r\n 0123\r\n\r\n9\r\n0\r\nT: x\r\n\r\n",
        429,
        b"hello 0123\r\n\r\n9",
        1,
    ),
    "bare newlines": (b"HTTP/1.1 404 X\nContent-Length: 2\n\nno", 404, b"no", 1),
    "said before": (b"HTTP/1.1 103 Early\r\nX: y\r\n\r\nHTTP/1.1 204\r\n\r\n", 204, b"", 1),
    "the old version": (b"HTTP/1.0 500 X\r\nContent-Length: 0\r\n\r\n", 500, b"", 2),
    "closing": (b"HTTP/1.1 500 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 500, b"", 2),
    "two lengths": (
        b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        500,
        b"x",
        2,
    ),
    "more than was asked for": (ACCEPTANCE + ACCEPTANCE, 202, b"", 2),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_read_to_their_end_and_only_then_is_the_connection_used_again(name):
    data, status, body, connections = ANSWERS[name]
    endpoint = PlainEndpoint(data, ACCEPTANCE)
    results = _launch.Launcher(endpoint.url, None, 1, **LIMITS).perform(batch(2), *KEYS)
    endpoint.end()
    assert [(result.status, result.reason) for result in results] == [(status, ""), (202, "")]
    assert (results[0].body, endpoint.connections) == (body, connections)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 202 X\r\nContent-Length: 0",
        b"HTTP/1.1 2x2 X\r\nContent-Length: 0",
        b"HTTP/1.1 2022 X\r\nContent-Length: 0",
        b"HTTP/1.1 099 X\r\nContent-Length: 0",
        b"HTTP/1.1 101 X\r\nContent-Length: 0",
        b"HTTP/1.1 202 X\r\nContent-Length: -1",
        b"HTTP/1.1 202 X\r\nContent-Length:",
        b"HTTP/1.1 202 X\r\nContent-Length: 1\r\nContent-Length: 2",
        b"HTTP/1.1 202 X\r\nContent-Length: 9999999999999999999",
        b"HTTP/1.1 202 X\r\nTransfer-Encoding: gzip",
    ],
)
def test_a_head_that_is_none_of_http_1_is_no_answer(head):
    endpoint = PlainEndpoint(head + b"\r\n\r\n", ACCEPTANCE)
    results = _launch.Launcher(endpoint.url, None, 1, **LIMITS).perform(batch(2), *KEYS)
    endpoint.end()
    assert [result.status for result in results] == [_launch.NO_ANSWER, 202]
    assert results[0].reason == "the endpoint did not answer in HTTP"
    assert endpoint.connections == 2


def test_an_answer_that_comes_before_the_request_is_all_sent_counts():
    endpoint = PlainEndpoint(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n", ACCEPTANCE, reads_bodies=False)
    large = ("large", "worker", b'"' + b"x" * 10_000_000 + b'"')
    results = _launch.Launcher(endpoint.url, None, 1, **LIMITS).perform([large, *batch(1)], *KEYS)
    endpoint.end()
    assert [result.status for result in results] == [413, 202]
    assert endpoint.connections == 2


def test_an_answer_counts_also_where_the_connection_is_reset_behind_it():
    large = ("large", "worker", b'"' + b"x" * 6_000_000 + b'"')
    for _ in range(60):  # the reset comes before the answer is looked for, or afterwards
        endpoint = PlainEndpoint(b"HTTP/1.1 413 X\r\nContent-Length: 2\r\n\r\nno", reads_bodies=False)
        result = _launch.Launcher(endpoint.url, None, 1, **LIMITS).perform([large], *KEYS)[0]
        endpoint.end()
        assert (result.status, result.reason, result.body) == (413, "", b"no")


def test_a_kept_connection_that_ends_without_an_answer_costs_no_try(serve):
    cuts = ["b-1"]

    def answer(request):
        if request.identifier in cuts:
            cuts.remove(request.identifier)
            raise Cut()
        return ACCEPTED

    endpoint = serve(answer)
    ours = launcher(endpoint, 1)
    assert [result.status for result in ours.perform(batch(3), *KEYS)] == [202] * 3
    assert [request.identifier for request in endpoint.requests] == ["b-0", "b-1", "b-1", "b-2"]
    assert endpoint.connections == 2
    cuts += ["b-0", "b-0", "b-0"]
    assert [result.status for result in ours.perform(batch(2), *KEYS)] == [_launch.NO_ANSWER, 202]
    assert cuts == ["b-0"]


def test_a_connection_closed_between_batches_is_replaced_before_sending(serve):
    endpoint = serve()
    ours = launcher(endpoint, 1)
    for connections in (1, 2, 3):
        assert [result.status for result in ours.perform(batch(2), *KEYS)] == [202] * 2
        assert endpoint.connections == connections
        endpoint.server.end_connections()
    assert len(endpoint.requests) == 6


def test_silence_ends_at_the_time_limit(serve):
    silent = threading.Event()
    endpoint = serve(lambda request: (request.identifier == "b-0" or silent.wait(LIMIT)) and ACCEPTED)
    ours = launcher(endpoint, 1, timeout=1.0)
    ours.perform(batch(1), *KEYS)  # the connection is there then
    result = ours.perform(batch(2)[1:], *KEYS)[0]
    silent.set()
    assert (result.status, "timed out" in result.reason) == (_launch.NO_ANSWER, True)


def test_a_connection_that_the_endpoint_closed_meanwhile_is_replaced(serve):
    endpoint = serve(lambda request: (202, {"Connection": "close"}, b""))
    ours = launcher(endpoint, 1)
    assert {result.status for result in ours.perform(batch(5), *KEYS)} == {202}
    assert endpoint.connections == 5


def test_a_certificate_of_another_authority_is_refused_for_good_and_nothing_is_sent(serve, tmp_path):
    endpoint, other = serve(), serve()
    result = _launch.Launcher(endpoint.url, str(other.ca), 2).perform(batch(1), *KEYS)[0]
    assert (result.status, "certificate" in result.reason) == (_launch.NEVER, True)
    assert _launch.Launcher(endpoint.url).perform(batch(1), *KEYS)[0].status == _launch.NEVER
    assert not endpoint.requests


def test_a_certificate_for_another_host_is_refused_for_good(serve):
    endpoint = serve(names=["elsewhere.example", "10.0.0.1"])
    result = launcher(endpoint).perform(batch(1), *KEYS)[0]
    assert (result.status, "certificate" in result.reason) == (_launch.NEVER, True)
    assert not endpoint.requests


def test_a_missing_ca_bundle_is_an_answer_and_not_a_crash(serve):
    result = _launch.Launcher(serve().url, "/nonexistent.pem", 2).perform(batch(1), *KEYS)[0]
    assert (result.status, "/nonexistent.pem" in result.reason) == (_launch.NEVER, True)


def test_a_refused_port_and_an_unknown_host_are_not_reached():
    with refusing_port() as port:
        refused = _launch.Launcher(f"https://127.0.0.1:{port}").perform(batch(1), *KEYS)[0]
    unknown = _launch.Launcher("https://nowhere.invalid").perform(batch(1), *KEYS)[0]
    assert (refused.status, unknown.status) == (_launch.UNREACHED, _launch.UNREACHED)
    assert refused.reason == "cannot connect: Connection refused"
    assert "nowhere.invalid" in unknown.reason


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["nothing", "no TLS"])
def test_who_does_not_speak_tls_is_not_reached(says):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with listening.accept()[0] as connection, suppress(ConnectionError):
                if says:
                    connection.sendall(says)
                while connection.recv(1000):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        ours = _launch.Launcher(f"https://127.0.0.1:{listening.getsockname()[1]}", connect_timeout=0.2)
        result = ours.perform(batch(1), *KEYS)[0]
        thread.join(LIMIT)
    assert result.status == _launch.UNREACHED
    assert result.reason


@pytest.mark.parametrize("kept", [False, True])
def test_an_endpoint_that_closes_in_mid_request_gives_no_answer(serve, kept):
    endpoint = serve(checks=False)
    ours = launcher(endpoint, 1)
    if kept:
        ours.perform(batch(1), *KEYS)
    endpoint.hangs_up = True
    large = ("large", "worker", b'"' + b"x" * 1_000_000 + b'"')
    result = ours.perform([large], *KEYS)[0]
    assert (result.status, bool(result.reason)) == (_launch.NO_ANSWER, True)
    endpoint.hangs_up = False
    assert ours.perform([large], *KEYS)[0].status == 202


class Proxy(socketserver.ThreadingTCPServer):
    """Joins connections to where they are asked to, or refuses; ends with its ``with``."""

    daemon_threads = True

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        super().__init__(("127.0.0.1", 0), _Joint)
        self.answer = answer
        self.heads: list[bytes] = []
        self.url = f"http://name:word@127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()


class _Joint(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.request.recv(1)
        self.server.heads.append(head)
        self.request.sendall(self.server.answer)
        if b" 200 " not in self.server.answer:
            return
        host, _, port = head.split(b" ")[1].partition(b":")
        with socket.create_connection((host.decode(), int(port))) as far:
            there = threading.Thread(target=_copy, args=(self.request, far))
            there.start()
            _copy(far, self.request)
            there.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_launches_go_through_a_proxy_in_tls_that_it_cannot_read(serve):
    endpoint = serve()
    with Proxy() as proxy:
        ours = launcher(endpoint, 2, proxy=proxy.url)
        assert {result.status for result in ours.perform(batch(6), *KEYS)} == {202}
        del ours
    assert sorted(endpoint.payloads) == sorted(payload for _, _, payload in batch(6))
    assert len(proxy.heads) == endpoint.connections <= 2
    for head in proxy.heads:
        assert head.startswith(f"CONNECT {endpoint.url[8:]} HTTP/1.1\r\n".encode())
        assert b"\r\nProxy-Authorization: Basic bmFtZTp3b3Jk\r\n" in head


def test_where_the_proxy_refuses_nothing_is_sent(serve):
    endpoint = serve()
    with Proxy(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        result = launcher(endpoint, 1, proxy=proxy.url).perform(batch(1), *KEYS)[0]
    assert (result.status, "407" in result.reason) == (_launch.UNREACHED, True)
    assert not endpoint.requests


def test_launches_that_hang_do_not_hold_up_a_batch_whose_others_are_answered(serve):
    held = threading.Event()
    endpoint = serve(lambda request: (int(request.identifier[2:]) < 8 or held.wait(LIMIT)) and ACCEPTED)
    ours = launcher(endpoint, 2, tail_timeout=1.5)  # the last two: when both are sent the others are answered
    results = {result.id: result for result in ours.perform(batch(10), *KEYS)}
    again = ours.perform([("b-8", "worker", b'{"id": "b-8"}')], *KEYS)
    held.set()
    assert [results[f"b-{at}"].status for at in range(10)] == [202] * 8 + [_launch.NO_ANSWER] * 2
    for result in (results["b-8"], results["b-9"], *again):
        assert result.reason.endswith("while others had theirs")
    assert [result.status for result in ours.perform(batch(10), *KEYS)] == [202] * 10


def test_launches_that_hang_do_not_hold_up_those_behind_them(serve):
    held, others = threading.Event(), []

    def answer(request):
        number = int(request.identifier[2:])
        if 0 < number <= 12:
            return held.wait(LIMIT) and ACCEPTED
        others.append(number)
        if len(others) == 8:
            held.set()
        return ACCEPTED

    results = launcher(serve(answer), 16).perform(batch(20), *KEYS)
    assert [result.status for result in results] == [202] * 20


def test_where_nothing_was_ever_answered_every_launch_has_its_whole_time(serve):
    held = threading.Event()
    endpoint = serve(lambda request: held.wait(LIMIT) and ACCEPTED)
    result = launcher(endpoint, 4, tail_timeout=0.001, timeout=1.0).perform(batch(1), *KEYS)[0]
    held.set()
    assert (result.status, "timed out" in result.reason) == (_launch.NO_ANSWER, True)


def test_cancel_brings_back_at_once_those_that_are_not_sent(serve):
    held, arrived = threading.Event(), threading.Event()

    def answer(request):
        arrived.set()
        held.wait(LIMIT)
        return ACCEPTED

    endpoint = serve(answer)
    ours = launcher(endpoint, 1)
    told, results = threading.Event(), []

    def report(some):
        results.extend(some)
        told.set()

    thread = threading.Thread(target=lambda: results.extend(ours.perform(batch(20), *KEYS, report=report)))
    thread.start()
    assert arrived.wait(LIMIT)
    ours.cancel()
    assert told.wait(LIMIT)
    assert [result.status for result in results] == [_launch.CANCELLED] * 19
    held.set()
    thread.join(LIMIT)
    assert len({result.id for result in results}) == len(results) == 20
    assert results[-1].status == 202
    assert len(endpoint.requests) == 1


def test_cancel_at_once_cuts_off_what_is_in_flight_and_holds_from_then_on(serve):
    held, arrived = threading.Event(), threading.Event()

    def answer(request):
        arrived.set()
        held.wait(LIMIT)
        return ACCEPTED

    ours = launcher(serve(answer), 2)
    results = []
    thread = threading.Thread(target=lambda: results.extend(ours.perform(batch(20), *KEYS)))
    thread.start()
    assert arrived.wait(LIMIT)
    ours.cancel(at_once=True)
    thread.join(LIMIT)
    held.set()
    assert [result.status for result in results] == [_launch.CANCELLED] * 20
    assert [result.status for result in ours.perform(batch(2), *KEYS)] == [_launch.CANCELLED] * 2


def test_a_launcher_at_work_refuses_a_second_call_and_goes_on(serve):
    held, arrived = threading.Event(), threading.Event()

    def answer(request):
        arrived.set()
        held.wait(LIMIT)
        return ACCEPTED

    ours = launcher(serve(answer))
    results = []
    thread = threading.Thread(target=lambda: results.extend(ours.perform(batch(3), *KEYS)))
    thread.start()
    assert arrived.wait(LIMIT)
    with pytest.raises(RuntimeError, match="at work"):
        ours.perform(batch(1), *KEYS)
    held.set()
    thread.join(LIMIT)
    assert [result.status for result in results] == [202] * 3


def test_an_error_in_the_report_ends_the_batch_and_the_launcher_stays_usable(serve):
    def report(results):
        raise KeyError("mine")

    held = threading.Event()
    endpoint = serve(lambda request: (request.identifier == "b-0" or held.wait(LIMIT)) and ACCEPTED)
    ours = launcher(endpoint, 2)
    with pytest.raises(KeyError, match="mine"):
        ours.perform(batch(2), *KEYS, report=report)
    held.set()
    assert [result.status for result in ours.perform(batch(2), *KEYS)] == [202] * 2


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("ftp://a", "https://"),
        ("https://", "no host"),
        ("https://a/b?c", "only https"),
        ("https://user@a", "only https"),
        ("https://a:0", "port"),
        ("https://a:99999", "port"),
        ("https://a b", "only https"),
        ("http://example.com", "loopback"),
        ("http://127.0.0.1.example.com", "loopback"),
    ],
)
def test_what_is_no_endpoint_is_said_at_once(endpoint, why):
    with pytest.raises(ValueError, match=why):
        _launch.Launcher(endpoint)


@pytest.mark.parametrize(
    "item", [("a", "f"), ["a", "f", b""], (1, "f", b""), ("a", "f", "text"), ("a", "f\0", b""), ("", "f", b""), 'a"b']
)
def test_what_is_no_launch_is_refused_before_anything_is_sent(serve, item):
    endpoint = serve()
    with pytest.raises((TypeError, ValueError)):
        launcher(endpoint).perform([("a", "f", b"{}"), item], *KEYS)
    assert not endpoint.requests


@pytest.mark.parametrize("secret", ["hidden\0hidden", "hidden\udc80", ""])
@pytest.mark.parametrize("where", ["access", "secret", "token"])
def test_no_error_holds_credentials(secret, where):
    given = {"access": ACCESS, "secret": SECRET, "token": TOKEN, where: secret}
    with pytest.raises(ValueError, match=r".") as caught:
        _launch.Launcher("https://127.0.0.1:9").perform(batch(1), "us-east-1", *given.values())
    for text in (str(caught.value), repr(caught.value), str(vars(caught.value)), repr(caught.value.__context__)):
        assert "hidden" not in text
        assert SECRET not in text


def test_no_result_holds_credentials():
    ours = _launch.Launcher("https://127.0.0.1:9")
    text = repr(ours) + repr(ours.perform(batch(2), *KEYS, TOKEN))
    assert SECRET not in text
    assert TOKEN not in text


@pytest.mark.parametrize(
    "proxy", ["http://name:hidden@127.0.0.1:99999", "http://name:hid den@127.0.0.1:9", "what://name:hidden@127.0.0.1:9"]
)
def test_no_result_holds_the_proxys_password(proxy):
    result = _launch.Launcher("https://localhost:9", None, 1, proxy=proxy).perform(batch(1), *KEYS)[0]
    assert (result.status, result.reason) == (_launch.UNREACHED, "the proxy's URL cannot be used")


@pytest.mark.long
def test_memory_is_flat_over_calls_and_launchers(serve):
    endpoint = serve(lambda request: (500, {"x-amzn-ErrorType": "E"}, b"x" * 2000))
    kept = launcher(endpoint)

    def work(times: int) -> int:
        for _ in range(times):
            kept.perform(batch(20), *KEYS, TOKEN)
            launcher(endpoint).perform(batch(2), *KEYS)
            endpoint.requests.clear()
            endpoint.faults.clear()
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()

    endpoint.secrets = {ACCESS: (SECRET, None)}
    before = work(30)
    assert work(100) - before < 1_000_000, "bytes"
