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
    loaded = set(re.findall(r"^import time:.*\| +([\w.]+)$", log, re.MULTILINE))
    assert {"ssl", "mu_twisted.wire", "worker_lambda._worker"} <= loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    assert not [name for name in loaded if "link" in name]
