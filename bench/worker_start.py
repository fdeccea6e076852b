"""The worker's start, part of every burst, is measured from the process's start until its greeting has come.

Beside bare Python, since that is what any worker would cost. Over mutual TLS on loopback, as with a real coordinator.
"""

import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from bench._figure import Figure

STARTS = 15
_PROJECT = Path(__file__).resolve().parent.parent


def run() -> list[Figure]:
    """In milliseconds, the least of each: what else the machine does only adds. Takes a few seconds."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        with _listening(work) as listener:
            bare = _least(_bare)
            worker = _least(lambda: _greeting(work, listener))
    return [
        Figure("worker: bare Python, from start to end", bare, "ms"),
        Figure("worker: from start to its greeting over TLS", worker, "ms"),
        Figure("worker: more than bare Python", worker - bare, "ms", 80.0),
    ]


def _least(once: Callable[[], float]) -> float:
    once()
    return min(once() for _ in range(STARTS)) * 1e3


def _bare() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - begin


def _greeting(work: Path, listener: ssl.SSLSocket) -> float:
    begin = time.perf_counter()
    command = [sys.executable, "-m", "worker_lambda", str(work / "event.json")]
    process = subprocess.Popen(command, cwd=_PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        connection, _ = listener.accept()
        with connection:
            greeting = b""
            while len(greeting) < 13 + len(b"OK:HELLO"):
                greeting += connection.recv(4096)
            took = time.perf_counter() - begin
    finally:
        process.kill()
        process.wait()
    return took


def _listening(work: Path) -> ssl.SSLSocket:
    from mu_twisted.coordinator import job_event
    from mu_twisted.tls import Authority, LaunchIdentity, RoleIdentity

    authority = Authority.generate()
    own = authority.issue(RoleIdentity("coordinator"), lifetime=timedelta(hours=1))
    (work / "own.pem").write_bytes(own.certificate + own.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(work / "own.pem")
    context.load_verify_locations(cadata=authority.certificate.decode("ascii"))
    context.verify_mode = ssl.CERT_REQUIRED
    listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    event = job_event(
        address="127.0.0.1",
        port=listener.getsockname()[1],
        ca=authority.certificate,
        pair=authority.issue(LaunchIdentity("bench"), lifetime=timedelta(hours=1)),
        bucket="b",
        region="us-east-1",
        job="bench",
    )
    (work / "event.json").write_text(json.dumps(json.loads(event) | {"launch_id": "0-0"}), encoding="ascii")
    return listener
