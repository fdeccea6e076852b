"""The start: nothing heavy is imported, since it is part of every burst."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = {
    *("boto3", "botocore", "asyncio", "twisted", "urllib3", "requests", "cryptography", "OpenSSL", "http", "email"),
    "hashlib",
}
IMPORTED = {
    *("base64", "binascii", "contextlib", "errno", "fcntl", "json", "os", "selectors", "signal", "socket", "ssl"),
    *("stat", "sys", "termios", "time", "pathlib", "collections", "__future__"),
}
"""What a worker imports of the standard library until it has greeted: each further one costs every start, so what only
some workers need is imported where they do (dataclasses: 10 ms, typing: 4 ms, subprocess: 3 ms)."""


def test_nothing_heavy_is_imported() -> None:
    script = "import json, sys, worker_lambda.lambda_function; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    loaded = {name.split(".")[0] for name in json.loads(out)}
    assert loaded & HEAVY == set()
    own = {name for name in json.loads(out) if name.startswith("mu_twisted")}
    assert all(name == "mu_twisted" or name.startswith(("mu_twisted.base", "mu_twisted.wire")) for name in own)


def test_nothing_heavy_is_imported_until_a_worker_has_greeted(
    monkeypatch: pytest.MonkeyPatch,
    tls_coordinator: Any,
    keys: Any,
    event: Callable[..., Any],
    start: Callable[..., Any],
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    worker = start(event(tls_coordinator, **keys.event()))
    talk = tls_coordinator.accept()
    assert talk.hear().startswith(b"OK:HELLO")
    talk.say(b"quit:")
    log = worker.result()[1]
    loaded = _imported(log)
    assert {"ssl", "mu_twisted.wire", "worker_lambda._worker"} <= loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    assert not [name for name in loaded if "link" in name]


def test_a_start_imports_no_more_of_the_standard_library_than_is_listed(
    tls_coordinator: Any,
    keys: Any,
    event: Callable[..., Any],
    start: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    worker = start(event(tls_coordinator, **keys.event()))
    assert tls_coordinator.accept().hear().startswith(b"OK:HELLO")
    worker.process.kill()
    loaded = _imported(worker.process.communicate()[1].decode())
    assert "worker_lambda._worker" in loaded
    own = {name for name in loaded if name.startswith(("worker_lambda", "mu_twisted"))}
    script = f"import runpy, {', '.join(sorted(IMPORTED))}"  # runpy: python -m
    listed = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, stderr=subprocess.PIPE, text=True
    ).stderr
    assert loaded - own - _imported(listed) == set()


def _imported(log: str) -> set[str]:
    return set(re.findall(r"^import time:.*\| +([\w.]+)$", log, re.MULTILINE))
