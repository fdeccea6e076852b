"""The dashboard answers those with a session, made for this host and from its own page; and no other browser."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from memory_service import MemoryService
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from mu_twisted.coordinator import Request
from mu_twisted.transport import DropLog
from mu_twisted.web import Api, Call, parse_address
from mu_twisted.web.dashboard._sessions import CODE_LIFE, LIFE, MAX_SESSIONS, UNUSED, Sessions
from mu_twisted.web.dashboard._site import Site, page_files

HOST = "127.0.0.1:8791"
ORIGIN = f"http://{HOST}"


class Dashboard:
    """A site in memory; its time is ``now``."""

    def __init__(self, directory: Path) -> None:
        self.now = 1_000_000.0
        self.path = directory / "dashboard.json"
        self.service = MemoryService()
        self.drops = DropLog(Clock())
        self.start()

    def start(self) -> None:
        self.sessions = Sessions(self.path, lambda: self.now)
        self.site = Site(
            Api(self.service, Clock()), self.sessions, lambda: {HOST, "localhost:8791"}, "http", self.drops.dropped
        )

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, dict[str, str]]:
        """The answer's status, its content, and its headers; underscores in names stand for dashes."""
        named = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
        path, _, query = path.partition("?")
        parameters = dict(part.split("=") for part in query.split("&")) if query else {}
        call = Call(method, tuple(path.strip("/").split("/")), parameters, body, "192.0.2.1", named)
        reply = at_once(self.site.answer(call))
        is_json = reply.kind == "application/json" and reply.body
        return reply.status, json.loads(reply.body) if is_json else reply.body, dict(reply.headers)

    def signed_in(self) -> str:
        status, answer, _ = self.ask("POST", "/session", json.dumps({"code": self.sessions.new_code()}).encode())
        assert status == 200
        return f"Bearer {answer['token']}"


def at_once(answer: Awaitable[Any]) -> Any:
    async def waited() -> Any:
        return await answer

    found: list[Any] = []
    Deferred.fromCoroutine(waited()).addBoth(found.append)
    return found[0]


@pytest.fixture
def dashboard(tmp_path: Path) -> Dashboard:
    return Dashboard(tmp_path)


def test_a_code_is_good_for_one_session(dashboard: Dashboard) -> None:
    body = json.dumps({"code": dashboard.sessions.new_code()}).encode()
    status, answer, _ = dashboard.ask("POST", "/session", body, origin=ORIGIN)
    assert status == 200
    assert dashboard.ask("GET", "/v1/jobs", authorization=f"Bearer {answer['token']}")[:2] == (200, {"jobs": []})
    assert dashboard.ask("POST", "/session", body)[0] == 403


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"{", b"\xff", b'{"code": 3}', b'{"code": ""}', b'{"code": "x"}', b"[" * 9999]
)
def test_what_is_no_code_begins_no_session(dashboard: Dashboard, body: bytes) -> None:
    dashboard.sessions.new_code()
    assert dashboard.ask("POST", "/session", body)[0] == 403


def test_wrong_codes_are_logged_and_few_of_many(dashboard: Dashboard) -> None:
    lines: list[str] = []

    def keep(event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("mu_twisted."):  # not what has become of another test's objects
            lines.append(str(formatEvent(event)))

    globalLogPublisher.addObserver(keep)
    try:
        for number in range(1000):
            assert dashboard.ask("POST", "/session", json.dumps({"code": f"wrong-{number}"}).encode())[0] == 403
        dashboard.drops.flush()
    finally:
        globalLogPublisher.removeObserver(keep)
    assert lines[0] == "dropped 192.0.2.1: it came to the dashboard with a code that is not good any more"
    assert len(lines) < 50
    assert lines[-1].startswith(f"dropped {1001 - len(lines)} more")
    assert not any("wrong-" in line for line in lines)


def test_a_code_is_not_good_for_long(dashboard: Dashboard) -> None:
    code = dashboard.sessions.new_code()
    dashboard.now += CODE_LIFE + 1
    assert dashboard.ask("POST", "/session", json.dumps({"code": code}).encode())[0] == 403


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer x", "Basic eDp4", "\udcff", "B" * 9999]
)
def test_without_a_session_nothing_is_told(dashboard: Dashboard, authorization: str | None) -> None:
    dashboard.signed_in()
    job = at_once(dashboard.service.submit(Request("exec"))).job
    headers = {} if authorization is None else {"authorization": authorization}
    for method, path in (
        ("GET", "/v1/jobs"),
        ("GET", "/v1/daemon"),
        ("GET", "/v1/stream"),
        ("GET", f"/v1/jobs/{job}/stream"),
        ("GET", f"/v1/jobs/{job}/output"),
        ("POST", f"/v1/jobs/{job}/cancel"),
        ("POST", f"/v1/jobs/{job}/retry"),
    ):
        status, answer, _ = dashboard.ask(method, path, **headers)
        assert status == 401, path
        assert "mu dashboard" in answer["error"]
    assert dashboard.service.job(job).state == "running"


def test_no_secret_in_a_query_is_one(dashboard: Dashboard) -> None:
    code = dashboard.sessions.new_code()
    token = dashboard.signed_in().partition(" ")[2]
    assert dashboard.ask("GET", f"/session?code={code}")[0] == 405
    assert dashboard.ask("POST", f"/session?code={code}")[0] == 403
    assert dashboard.ask("GET", f"/v1/jobs?token={token}")[0] == 401
    assert dashboard.ask("GET", f"/v1/jobs?authorization={token}")[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:8791"},
        {"origin": "http://127.0.0.1:8792"},
        {"origin": "http://localhost:8791"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_pages_of_another_origin_are_refused_with_and_without_a_secret(
    dashboard: Dashboard, headers: dict[str, str]
) -> None:
    token = dashboard.signed_in()
    job = at_once(dashboard.service.submit(Request("exec"))).job
    assert dashboard.ask("GET", "/v1/jobs", authorization=token, **headers)[0] == 403
    assert dashboard.ask("POST", f"/v1/jobs/{job}/cancel", authorization=token, **headers)[0] == 403
    code = dashboard.sessions.new_code()
    body = json.dumps({"code": code}).encode()
    status, _, answered = dashboard.ask("POST", "/session", body, **headers)
    assert status == 403
    assert not [name for name in answered if name.lower().startswith("access-control")]
    assert dashboard.ask("POST", "/session", body)[0] == 200  # it was not used up


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8791", "127.0.0.1", "127.0.0.1:80", "[::1]:8791"])
def test_a_name_that_leads_here_is_not_this_host(dashboard: Dashboard, host: str) -> None:
    token = dashboard.signed_in()
    for path in ("/", "/main.js", "/v1/jobs", "/session"):
        assert dashboard.ask("GET", path, host=host, authorization=token)[0] == 421, path
    assert dashboard.ask("GET", "/v1/jobs", host="LOCALHOST:8791", authorization=token)[0] == 200


def test_a_session_shows_cancels_and_retries_and_no_more(dashboard: Dashboard) -> None:
    token = dashboard.signed_in()
    job = at_once(dashboard.service.submit(Request("exec"))).job
    own = {"authorization": token, "origin": ORIGIN, "sec_fetch_site": "same-origin"}
    for method, path in (
        ("POST", "/v1/jobs"),
        ("DELETE", f"/v1/jobs/{job}"),
        ("POST", "/v1/dashboard"),
        ("POST", f"/v1/jobs/{job}/cancel/x"),
        ("PUT", f"/v1/jobs/{job}/cancel"),
        ("GET", "/v1"),
    ):
        assert dashboard.ask(method, path, **own)[0] == 403, path
    assert dashboard.ask("GET", "/v2/jobs", **own)[0] == 404
    assert dashboard.ask("POST", f"/v1/jobs/{job}/cancel", **own)[1]["state"] == "cancelled"
    assert dashboard.ask("POST", f"/v1/jobs/{job}/retry", b'{"tasks": ["0"]}', **own)[1]["state"] == "running"
    assert dashboard.service.retried == [{0}]


def test_sessions_outlive_the_process_as_hashes_for_their_owner_alone(dashboard: Dashboard) -> None:
    token, code = dashboard.signed_in(), dashboard.sessions.new_code()
    kept = dashboard.path.read_text()
    assert token.partition(" ")[2] not in kept
    assert code not in kept
    assert dashboard.path.stat().st_mode & 0o777 == 0o600
    dashboard.start()
    assert dashboard.ask("GET", "/v1/jobs", authorization=token)[0] == 200
    assert dashboard.ask("POST", "/session", json.dumps({"code": code}).encode())[0] == 200
    dashboard.start()
    assert dashboard.ask("POST", "/session", json.dumps({"code": code}).encode())[0] == 403


def test_sessions_end(dashboard: Dashboard) -> None:
    token = dashboard.signed_in()
    assert dashboard.ask("DELETE", "/session", authorization=token)[0] == 204
    assert dashboard.ask("GET", "/v1/jobs", authorization=token)[0] == 401
    token = dashboard.signed_in()
    dashboard.now += UNUSED + 1
    assert dashboard.ask("GET", "/v1/jobs", authorization=token)[0] == 401
    token, began = dashboard.signed_in(), dashboard.now
    while dashboard.now - began < LIFE:
        assert dashboard.ask("GET", "/v1/jobs", authorization=token)[0] == 200
        dashboard.now += UNUSED / 2
    dashboard.now += UNUSED / 2
    assert dashboard.ask("GET", "/v1/jobs", authorization=token)[0] == 401


def test_sessions_are_no_more_than_so_many_and_a_damaged_file_has_none(dashboard: Dashboard) -> None:
    tokens = [dashboard.signed_in() for _ in range(MAX_SESSIONS + 2)]
    assert dashboard.ask("GET", "/v1/jobs", authorization=tokens[0])[0] == 401
    assert dashboard.ask("GET", "/v1/jobs", authorization=tokens[-1])[0] == 200
    dashboard.path.write_bytes(b'{"sessions": 3}\xff')
    dashboard.start()
    assert dashboard.ask("GET", "/v1/jobs", authorization=tokens[-1])[0] == 401
    assert dashboard.ask("GET", "/v1/jobs", authorization=dashboard.signed_in())[0] == 200


def test_the_page_is_there_for_all_and_allows_itself_nothing_of_others(dashboard: Dashboard) -> None:
    for path, kind in (("/", b"<!doctype html>"), ("/main.js", b"import"), ("/dashboard.css", b"box-sizing")):
        status, content, headers = dashboard.ask("GET", path)
        assert status == 200
        assert kind in content
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
    assert dashboard.ask("POST", "/")[0] == 405
    for path in ("/_site.py", "/../_api.py", "/%2e%2e/x", "/nosuch.js"):
        assert dashboard.ask("GET", path)[0] == 404


def test_the_page_loads_nothing_from_elsewhere_and_writes_no_markup() -> None:
    for name, (_, content) in page_files().items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", "").replace("/* ", ""), name
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "localStorage",
            "cookie",
        ):
            assert word not in text, (name, word)


@pytest.mark.parametrize(
    ("text", "host", "port", "is_here"),
    [
        ("0", "127.0.0.1", 0, True),
        ("8791", "127.0.0.1", 8791, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("127.3.2.1:80", "127.3.2.1", 80, True),
        ("Mu.example.org:443", "mu.example.org", 443, False),
        ("0.0.0.0:443", "0.0.0.0", 443, False),  # noqa: S104
        ("localhost.evil.example:443", "localhost.evil.example", 443, False),
    ],
)
def test_addresses(text: str, host: str, port: int, is_here: bool) -> None:
    address = parse_address(text)
    assert (address.host, address.port, address.is_here) == (host, port, is_here)


@pytest.mark.parametrize("text", ["", "x", ":80", "a:", "a:b", "a:65536", "-1", "80.5"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected a port of this machine, or HOST:PORT"):
        parse_address(text)
