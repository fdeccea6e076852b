"""Events are sent as they come, to both kinds of callers, and the parts of what failed that are to be run again."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from control_server import Loop, Served
from memory_service import MemoryService

from mu_twisted.tls import RoleIdentity

Dial = Callable[[], socket.socket]


@pytest.fixture(params=["unix", "tls"])
def dial(request: pytest.FixtureRequest, served: Served) -> Dial:
    return served.dial_unix if request.param == "unix" else lambda: served.dial_tls(RoleIdentity("operator"))


def a_job(loop: Loop, served: Served) -> str:
    from mu_twisted.coordinator import Request

    return str(loop.do(served.service.submit, Request("exec", ("-n", "3"))).job)


def answered(dial: Dial, path: str, **headers: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("mu")
    connection.sock = dial()
    connection.request("GET", path, headers=headers)
    return connection, connection.getresponse()


def watcher(loop: Loop, service: MemoryService) -> tuple[str | None, Any, int]:
    return loop.until(lambda: service.watchers and service.watchers[0])  # type: ignore[return-value]


def test_events_come_as_they_are_sent_until_the_caller_goes(dial: Dial, served: Served, loop: Loop) -> None:
    job = a_job(loop, served)
    _, answer = answered(dial, f"/v1/jobs/{job}/stream?after=5")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert answer.headers["Cache-Control"] == "no-store"
    name, sink, after = watcher(loop, served.service)
    assert (name, after) == (job, 5)
    loop.do(sink.send, "delta", b'{"a":1}', 9)
    loop.do(sink.send, "alive", b"{}")
    read = b""
    while b"alive" not in read or not read.endswith(b"data: {}\n\n"):
        read += answer.read1(65536)
    assert b'event: delta\nid: 9\ndata: {"a":1}\n\n' in read
    answer.close()
    loop.until(lambda: not served.service.watchers)


def test_a_browser_that_connects_again_says_where_it_was(served: Served, loop: Loop) -> None:
    job = a_job(loop, served)
    connection, answer = answered(served.dial_unix, f"/v1/jobs/{job}/stream", **{"Last-Event-ID": "77"})
    assert watcher(loop, served.service)[2] == 77
    connection.close()
    answer.close()


def test_all_jobs_have_a_stream_too(dial: Dial, served: Served, loop: Loop) -> None:
    connection, answer = answered(dial, "/v1/stream")
    assert answer.status == 200
    assert watcher(loop, served.service)[0] is None
    connection.close()
    answer.close()


def test_what_a_caller_does_not_take_is_not_sent(served: Served, loop: Loop) -> None:
    job = a_job(loop, served)
    connection, answer = answered(served.dial_unix, f"/v1/jobs/{job}/stream")
    _, sink, _ = watcher(loop, served.service)
    data = json.dumps("x" * 1_000_000).encode()
    for _ in range(50):
        if not loop.do(lambda: sink.ready):
            break
        loop.do(sink.send, "delta", data)
    else:
        raise AssertionError("it took 50 MB unread")
    while not loop.do(lambda: sink.ready):
        answer.read1(1 << 20)
    connection.close()
    answer.close()


def test_no_job_no_stream(served: Served) -> None:
    for path, status in (
        ("/v1/jobs/nosuch/stream", 404),
        ("/v1/jobs/nosuch/timeline", 404),
        ("/v1/stream?after=1", 400),
        ("/v1/jobs/nosuch/story", 400),
        ("/v1/jobs/nosuch/story?task=1", 404),
    ):
        _, answer = answered(served.dial_unix, path)
        assert answer.status == status, path
        assert json.loads(answer.read())["error"]


def test_timeline_failures_and_story_are_answered(dial: Dial, served: Served, loop: Loop) -> None:
    job = a_job(loop, served)
    loop.do(served.service.end, job, "failed", "no \udcff room")
    assert json.loads(answered(dial, f"/v1/jobs/{job}/timeline")[1].read())["tasks"] == 3
    (group,) = json.loads(answered(dial, f"/v1/jobs/{job}/failures")[1].read())["groups"]
    assert group["reason"] == "no \\udcff room"
    assert json.loads(answered(dial, f"/v1/jobs/{job}/story?task=2")[1].read())["task"]["state"] == "failed"


def post(dial: Dial, path: str, body: str | None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("mu")
    connection.sock = dial()
    connection.request("POST", path, body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_part_of_the_failed_tasks_is_named_by_ranges(dial: Dial, served: Served, loop: Loop) -> None:
    job = a_job(loop, served)
    loop.do(served.service.end, job, "failed", "no")
    assert post(dial, f"/v1/jobs/{job}/retry", '{"tasks": ["0-1", "7"]}')[0] == 200
    assert served.service.retried == [{0, 1, 7}]


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[]",
        '{"tasks": [0]}',
        '{"tasks": ["a"]}',
        '{"tasks": ["1-"], "all": 1}',
        '{"tasks": ["-1"]}',
        '{"tasks": ["0-999999999"]}',
        '{"tasks": ["1--2"]}',
        "{",
        "\xff",
    ],
)
def test_a_part_that_is_none_is_refused(served: Served, loop: Loop, body: str) -> None:
    job = a_job(loop, served)
    loop.do(served.service.end, job, "failed", "no")
    status, answer = post(served.dial_unix, f"/v1/jobs/{job}/retry", body)
    assert status == 400
    assert "expected" in answer["error"]
    assert not served.service.retried
