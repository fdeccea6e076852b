"""Both listeners: the same contract, and who may come."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
from collections.abc import Callable
from grp import getgrgid
from typing import Any

import pytest
from control_server import TIMEOUT, Loop, Served

from mu_twisted.tls import Authority, LaunchIdentity, RoleIdentity, TaskIdentity
from mu_twisted.web import ControlError, open_control

OPERATOR = RoleIdentity("operator")
Dial = Callable[[], socket.socket]


@pytest.fixture(params=["unix", "tls"])
def dial(request: pytest.FixtureRequest, served: Served) -> Dial:
    return served.dial_unix if request.param == "unix" else lambda: served.dial_tls(OPERATOR)


def ask(dial: Dial, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """The answer's status and content: JSON taken apart, or text."""
    connection = http.client.HTTPConnection("mu")
    connection.sock = dial()
    try:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        is_json = answer.headers.get_content_type() == "application/json"
        if is_json:
            assert text.count("\n") == 1
        return answer.status, json.loads(text) if is_json else text
    finally:
        connection.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a refused request is read however long its client takes to send it."""
    monkeypatch.setattr("mu_twisted.web._http.LINGER_TIME", TIMEOUT)


def answer_in(caller: socket.socket) -> bytes:
    """An answer with a body, to its end."""
    got = b""
    while not got.endswith(b"}\n"):
        piece = caller.recv(65536)
        assert piece, got
        got += piece
    return got


def talk(dial: Dial, data: bytes) -> bytes:
    """Send these bytes and read all that comes until the connection ends."""
    with dial() as caller:
        caller.sendall(data)
        got = b""
        while piece := caller.recv(65536):
            got += piece
        return got


def test_a_job_is_submitted_watched_and_removed(dial: Dial, served: Served, loop: Loop) -> None:
    status, job = ask(dial, "POST", "/v1/jobs", {"pipeline": "exec", "words": ["-n", "3", "true"]})
    assert (status, job["state"], job["tasks"]) == (201, "running", 3)
    name = job["job"]
    assert ask(dial, "GET", "/v1/jobs") == (200, {"jobs": [job]})
    assert ask(dial, "GET", f"/v1/jobs/{name}") == (200, job)
    status, tasks = ask(dial, "GET", f"/v1/jobs/{name}/tasks")
    assert [task["task"] for task in tasks["tasks"]] == [0, 1, 2]
    assert ask(dial, "GET", f"/v1/jobs/{name}/log") == (200, f"{name} all\nsaid \\udcff\n")
    assert ask(dial, "GET", f"/v1/jobs/{name}/log?task=2") == (200, f"{name} 2\nsaid \\udcff\n")
    assert ask(dial, "DELETE", f"/v1/jobs/{name}")[0] == 409
    assert ask(dial, "POST", f"/v1/jobs/{name}/retry")[0] == 409
    assert ask(dial, "POST", f"/v1/jobs/{name}/cancel")[1]["state"] == "cancelled"
    assert ask(dial, "POST", f"/v1/jobs/{name}/retry")[1]["state"] == "running"
    loop.do(served.service.end, name)
    assert ask(dial, "DELETE", f"/v1/jobs/{name}") == (204, "")
    assert ask(dial, "GET", f"/v1/jobs/{name}")[0] == 404
    status, metrics = ask(dial, "GET", "/metrics")
    assert status == 200
    assert "\nmu_workers_connected 2.0\n" in metrics
    assert ask(dial, "GET", "/v1/daemon")[1]["pid"] == 4711


def test_waiting_ends_with_the_job_with_its_time_or_with_the_client(dial: Dial, served: Served, loop: Loop) -> None:
    name = ask(dial, "POST", "/v1/jobs", {"pipeline": "exec"})[1]["job"]
    assert ask(dial, "GET", f"/v1/jobs/{name}/wait?timeout=0.01")[1]["state"] == "running"
    with dial() as caller:
        caller.sendall(f"GET /v1/jobs/{name}/wait HTTP/1.1\r\nHost: mu\r\n\r\n".encode())
        loop.until(lambda: served.service.waiting.get(name))
    loop.until(lambda: not served.service.waiting[name])
    with dial() as caller:
        caller.sendall(f"GET /v1/jobs/{name}/wait HTTP/1.1\r\nHost: mu\r\n\r\n".encode())
        loop.until(lambda: served.service.waiting.get(name))
        loop.do(served.service.end, name)
        assert b'"state":"done"' in answer_in(caller)


def page(dial: Dial, query: str) -> tuple[int, Any]:
    _, job = ask(dial, "POST", "/v1/jobs", {"pipeline": "exec", "words": ["-n", "7"]})
    return ask(dial, "GET", f"/v1/jobs/{job['job']}/tasks?{query}")


@pytest.mark.parametrize(
    ("query", "tasks", "following"),
    [
        ("limit=3", [0, 1, 2], 3),
        ("cursor=3&limit=3", [3, 4, 5], 6),
        ("limit=3&cursor=6", [6], None),
        ("cursor=7", [], None),
        ("state=waiting&cursor=5", [5, 6], None),
        ("state=done", [], None),
    ],
)
def test_tasks_are_told_by_pages_of_one_state(dial: Dial, query: str, tasks: list[int], following: int | None) -> None:
    status, found = page(dial, query)
    assert status == 200
    assert [task["task"] for task in found["tasks"]] == tasks
    assert found["next"] == following


def test_jobs_in_one_state_and_what_one_does_now_can_be_asked_for(served: Served) -> None:
    names = [
        ask(served.dial_unix, "POST", "/v1/jobs", {"pipeline": "exec", "words": ["-n", "7"]})[1]["job"] for _ in "ab"
    ]
    served.loop.do(served.service.end, names[0])
    for state, expected in (("running", names[1:]), ("done", names[:1]), ("held", [])):
        _, found = ask(served.dial_unix, "GET", f"/v1/jobs?state={state}")
        assert [job["job"] for job in found["jobs"]] == expected
    assert ask(served.dial_unix, "GET", "/v1/jobs?state=active")[0] == 400
    _, active = ask(served.dial_unix, "GET", f"/v1/jobs/{names[1]}/active?limit=3")
    assert [task["task"] for task in active["tasks"]] == [0, 1, 2]
    assert ask(served.dial_unix, "GET", f"/v1/jobs/{names[1]}/active?limit=0")[0] == 400
    assert ask(served.dial_unix, "GET", "/v1/jobs/nosuch/active")[0] == 404


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=", "cursor=-1", "cursor=%C2%B2", "state=lost", "state=", "page=2"],
)
def test_a_page_that_cannot_be_is_refused_by_the_parameter_s_name(served: Served, query: str) -> None:
    status, said = page(served.dial_unix, query)
    assert status == 400
    assert query.partition("=")[0] in said["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/", None, 404, "/v1/jobs"),
        ("GET", "/v2/jobs", None, 404, "/v1/jobs"),
        ("GET", "/v1/jobs/x/y", None, 404, "/v1/jobs"),
        ("GET", "/v1/jobs/x/tasks/y/z", None, 404, "/v1/jobs"),
        ("GET", "/v1/jobs/nosuch", None, 404, "there is no job 'nosuch'"),
        ("GET", "/v1/jobs/nosuch/wait", None, 404, "there is no job"),
        ("POST", "/v1/jobs/nosuch/cancel", None, 404, "there is no job"),
        ("DELETE", "/v1/jobs/%2e%2e%2fx", None, 404, "there is no job '../x'"),
        ("PUT", "/v1/jobs", None, 405, "expected GET, POST, got PUT"),
        ("OPTIONS", "/v1/jobs/x", None, 405, "expected GET, DELETE"),
        ("GET", "/v1/jobs/%ff", None, 400, "UTF-8"),
        ("GET", "/v1/jobs?all=1", None, 400, "no parameter is called 'all'"),
        ("GET", "/v1/jobs/x/wait?timeout=nan", None, 400, "timeout: expected a number of seconds"),
        ("GET", "/v1/jobs/x/log?task=-1", None, 400, "task: expected a task's number"),
        ("GET", "/v1/jobs/x/events?after=-1", None, 400, "after: expected the end of a page"),
        ("GET", "/v1/jobs/x/output?task=-1", None, 400, "task: expected a task's number"),
        ("GET", "/v1/jobs/x/output?which=first", None, 400, "which: expected an attempt's number, last or all"),
        ("GET", "/v1/jobs/x/output?failed=yes", None, 400, "failed: expected 1 or 0"),
        ("GET", "/v1/jobs/x/output?after=1.2", None, 400, "after: expected the cursor of a page"),
        ("GET", "/v1/jobs/x/tee?after=1", None, 400, "after: expected the cursor of a page"),
        ("GET", "/v1/jobs/x/tee?after=1.-2", None, 400, "after: expected the cursor of a page"),
        ("GET", "/v1/jobs/x/tee?timeout=-1", None, 400, "timeout: expected a number of seconds"),
        ("POST", "/v1/jobs", b"", 400, "expected a job in JSON"),
        ("POST", "/v1/jobs", b"{", 400, "expected a job in JSON"),
        ("POST", "/v1/jobs", b'{"pipeline":"\xff"}', 400, "expected a job in JSON"),
        ("POST", "/v1/jobs", b"[" * 100_000, 400, "expected a job in JSON"),
        ("POST", "/v1/jobs", {"pipeline": 3}, 400, "$.pipeline"),
        ("POST", "/v1/jobs", {"pipeline": "exec", "more": 1}, 400, "more"),
        ("POST", "/v1/jobs", {"pipeline": "nosuch"}, 400, "no pipeline is called 'nosuch'"),
        ("POST", "/v1/jobs", {"pipeline": "./m.py", "source": "x" * ((1 << 20) + 1)}, 413, "./m.py is longer"),
        ("POST", "/v1/jobs", b" " * ((11 << 20) + 1), 413, "at most 11534336 bytes"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    dial: Dial, method: str, path: str, body: object, status: int, said: str
) -> None:
    got, answer = ask(dial, method, path, body)
    assert got == status
    assert said in answer["error"]


@pytest.mark.parametrize(
    ("pipeline", "words", "usage"),
    [("nosuch", [], True), ("exec", ["-r", "mars-1"], True), ("exec", ["-b", "none"], None)],
)
def test_what_every_coordinator_would_refuse_is_told_apart(
    dial: Dial, pipeline: str, words: list[str], usage: bool | None
) -> None:
    status, answer = ask(dial, "POST", "/v1/jobs", {"pipeline": pipeline, "words": [*words, "true"]})
    assert (status, answer.get("usage")) == (400, usage)


def test_a_body_in_chunks_has_the_same_limit(dial: Dial) -> None:
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: mu\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 413 " in talk_until_reply(dial, head + b"100000\r\n" + bytes(1 << 20) + b"\r\n", 12)
    content = b'{"pipeline":"exec"}'
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    assert b" 201 " in talk(dial, head + chunked)


def talk_until_reply(dial: Dial, first: bytes, times: int) -> bytes:
    with dial() as caller:
        caller.sendall(first)
        for _ in range(times):
            caller.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        return answer_in(caller)


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100 + b"\r\n",
        b"GET / HTTP/1.1\r\na: " + b"b" * 30_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 70_000,
        b"POST /v1/jobs HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00" + bytes(range(1, 200)) + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(dial: Dial, data: bytes) -> None:
    with dial() as caller:
        caller.sendall(data)
        got = answer_in(caller)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert got.endswith(b'{"error":"this is not an HTTP request that can be understood"}\n')


def test_one_request_a_connection(dial: Dial) -> None:
    request = b"GET /v1/daemon HTTP/1.1\r\nHost: mu\r\n\r\n"
    got = talk(dial, request * 3)
    assert got.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in got


def test_a_web_page_changes_nothing(dial: Dial) -> None:
    assert ask(dial, "POST", "/v1/jobs", {"pipeline": "exec"}, Origin="https://example.org")[0] == 403
    assert ask(dial, "GET", "/v1/jobs", Origin="https://example.org") == (200, {"jobs": []})


def test_a_daemon_that_takes_no_job_says_why(dial: Dial, served: Served) -> None:
    served.service.note = "the disk is full"
    status, answer = ask(dial, "POST", "/v1/jobs", {"pipeline": "exec"})
    assert status == 503
    assert "the disk is full" in answer["error"]


def test_a_fault_is_told_in_one_line_and_logged(dial: Dial, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("secret thoughts")

    monkeypatch.setattr(served.service, "jobs", broken)
    status, answer = ask(dial, "GET", "/v1/jobs")
    assert status == 500
    assert "secret" not in answer["error"]


@pytest.mark.parametrize(
    "identity",
    [
        None,
        LaunchIdentity("j"),
        TaskIdentity("j", 0, 0),
        RoleIdentity("rendezvous"),
        RoleIdentity("coordinator"),
    ],
)
def test_operators_alone_are_served_over_tls(served: Served, identity: Any) -> None:
    for data in (b"GET /v1/jobs HTTP/1.1\r\n\r\n", b"nonsense", b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 9\r\n\r\n"):
        with served.dial_tls(identity) as caller:
            caller.sendall(data)
            got = answer_in(caller)
        assert got.startswith(b"HTTP/1.1 403 ")
        assert b"expected a certificate of mu:role/operator" in got


def test_a_foreign_operator_is_not_talked_to(served: Served) -> None:
    with served.dial_tls(OPERATOR, Authority.generate()) as caller, pytest.raises(OSError, match="unknown ca"):
        caller.recv(1)  # with TLS 1.3 the first read tells


def test_the_socket_is_the_owners_alone(served: Served) -> None:
    assert stat.S_IMODE(served.socket_path.stat().st_mode) == 0o600


def test_a_group_can_be_let_in(served: Served, loop: Loop) -> None:
    served.close()
    served.state.chmod(0o700)
    served.open(group=getgrgid(os.getgid()).gr_name)
    assert stat.S_IMODE(served.socket_path.stat().st_mode) == 0o660
    assert stat.S_IMODE(served.state.stat().st_mode) == 0o710


def test_a_socket_that_no_process_answers_on_is_replaced(served: Served, loop: Loop) -> None:
    served.close()
    assert not served.socket_path.exists()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(served.socket_path))
    served.open()
    assert ask(served.dial_unix, "GET", "/v1/jobs")[0] == 200


@pytest.mark.parametrize("group", ["nosuchgroup", None])
def test_what_is_in_the_way_is_told(served: Served, loop: Loop, group: str | None) -> None:
    with pytest.raises(ControlError, match="nosuchgroup" if group else "another process answers"):
        loop.do(open_control, loop.reactor, served.service, socket_path=served.socket_path, group=group)
    assert ask(served.dial_unix, "GET", "/v1/jobs")[0] == 200
    other = served.state / "file"
    other.write_text("precious")
    with pytest.raises(ControlError, match="in the way"):
        loop.do(open_control, loop.reactor, served.service, socket_path=other)
    assert other.read_text() == "precious"


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("nonsense", "expected a port"),
        ("tcp:x", "expected a port"),
        ("unix:{}/s", "expected TCP"),
        ("{}", "process [0-9]+ .* has it; "),
    ],
)
def test_an_endpoint_that_cannot_be_had_leaves_nothing_open(
    served: Served, loop: Loop, endpoint: str, said: str
) -> None:
    path = served.state / "second.sock"
    text = endpoint.format(served.control.port if endpoint == "{}" else served.state)
    with pytest.raises(ControlError, match=said) as caught:
        loop.do(
            open_control,
            loop.reactor,
            served.service,
            socket_path=path,
            endpoint=text,
            contexts=served.contexts(),
        )
    assert "\n" not in str(caught.value)
    loop.until(lambda: not path.exists())


def test_a_state_directory_of_any_length_will_do(served: Served, loop: Loop) -> None:
    deep = served.state / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    path = deep / "control.sock"
    control = loop.do(open_control, loop.reactor, served.service, socket_path=path)
    assert path.is_socket()
    loop.do(control.close)
    assert not path.exists()


def test_closing_ends_those_who_wait_and_leaves_no_socket(dial: Dial, served: Served, loop: Loop) -> None:
    name = ask(dial, "POST", "/v1/jobs", {"pipeline": "exec"})[1]["job"]
    with dial() as caller:
        caller.sendall(f"GET /v1/jobs/{name}/wait HTTP/1.1\r\n\r\n".encode())
        loop.until(lambda: served.service.waiting.get(name))
        served.close()
        assert caller.recv(1) == b""
    assert not served.socket_path.exists()
    assert not served.service.waiting[name]
