"""A coordinator serves the dashboard where an option says so, and its sessions outlive it."""

import http.client
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from daemon_processes import Coordinate
from encoder_jobs import environment
from free_ports import held_ports
from warm_processes import LIMIT, MU, Process
from warm_processes import run as run_warm

pytestmark = pytest.mark.process


@contextmanager
def coordinator(home: Path, *words: str) -> Iterator[int]:
    """A coordinator that serves, and its dashboard's port."""
    process = Process(
        *(*MU, "coordinator", "-t", "tcp:0:interface=127.0.0.1", "--state-dir", str(home / "state"), *words),
        env=environment(home, {}),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    log = ""
    try:
        port = 0
        while "ready for workers" not in log:
            line = process.stderr.readline()
            assert line, log
            log += line
            found = re.search(r"the dashboard is at http://127\.0\.0\.1:([0-9]+)/", line)
            port = int(found[1]) if found is not None else port
        assert "code=" not in log
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT)


def mu(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return run_warm(*MU, *words, env=environment(home, {}))


def ask(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture
def held() -> Iterator[int]:
    with held_ports() as port:
        yield port


def test_an_address_is_good_once_and_its_session_for_the_next_start_too(tmp_path: Path, held: int) -> None:
    state = str(tmp_path / "state")
    with coordinator(tmp_path, "--dashboard", str(held)) as port:
        assert port == held
        url = json.loads(mu(tmp_path, "dashboard", "--state-dir", state, "--json").stdout)["url"]
        assert url.startswith(f"http://127.0.0.1:{port}/#code=")
        code = url.partition("=")[2]
        status, answer = ask(port, "POST", "/session", {"code": code})
        assert status == 200
        assert ask(port, "POST", "/session", {"code": code})[0] == 403
        session = {"Authorization": f"Bearer {answer['token']}"}
        assert ask(port, "GET", "/v1/jobs", **session) == (200, {"jobs": []})
        assert ask(port, "GET", "/v1/jobs")[0] == 401
        assert ask(port, "GET", "/v1/jobs", **session, Host="evil.example")[0] == 421
    with coordinator(tmp_path, "--dashboard", str(held)) as again:
        assert again == held
        assert ask(port, "GET", "/v1/jobs", **session)[0] == 200
    for path in Path(state).rglob("*"):
        if path.is_file():
            kept = path.read_bytes()
            assert answer["token"].encode() not in kept
            assert code.encode() not in kept
    with coordinator(tmp_path) as none:
        assert none == 0
        refused = mu(tmp_path, "dashboard", "--state-dir", state)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "has no dashboard: start it with --dashboard" in refused.stderr
    away = mu(tmp_path, "dashboard", "--state-dir", state)
    assert "`mu report JOB` shows a job on record" in away.stderr
    assert away.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["x", "8791x", ":8791", "a:99999", ""])
def test_what_is_no_address_is_wrong_use(coordinate: Coordinate, text: str) -> None:
    ended = coordinate("--dashboard", text)
    assert ended.status == 1 or ended.status == 2
    said = f"--dashboard: expected a port of this machine, or HOST:PORT, or off, got {text!r}"
    assert said + ("" if text else ": is a variable empty?") in ended.complained()


def test_one_for_others_needs_a_ca_and_a_port_that_is_free(coordinate: Coordinate, tmp_path: Path) -> None:
    with coordinator(tmp_path / "other", "--dashboard", "0") as port:
        ended = coordinate("--state-dir", str(tmp_path / "mine"), "-t", "0", "--dashboard", str(port))
    assert ended.status == 1
    assert re.search(f"cannot listen on 127.0.0.1:{port}: process .* has it; .* --dashboard", ended.complained())
    assert os.listdir(tmp_path / "mine")  # noqa: PTH208
