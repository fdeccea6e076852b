"""The worker's start, part of every burst, is measured from the process's start until its greeting has come.

Beside bare Python, since that is what any worker would cost. Over mutual TLS on loopback, as with a real coordinator,
from the function's own package, unpacked where nothing can be written beside it, as in Lambda. The process's own CPU
time counts, which other load on the machine hardly changes: a start waits for nothing but the handshake's answers.
"""

import io
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import zipfile
from datetime import timedelta
from pathlib import Path

from bench._figure import Figure, least_of

STARTS = 25


def run() -> list[Figure]:
    """In milliseconds of CPU, the least of each: what else the machine does only adds. Takes some ten seconds."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        function = _unpacked(work / "function")
        with _listening(work) as listener:
            starts = [(_bare() * 1e3, _greeting(work, function, listener) * 1e3) for _ in range(STARTS + 1)][1:]
    bare, worker = zip(*starts, strict=True)
    return [
        least_of("worker: CPU of bare Python, from start to end", bare, "ms"),
        least_of("worker: CPU from start to its greeting over TLS", worker, "ms"),
        Figure(
            "worker: more than bare Python", min(worker) - min(bare), "ms", 60.0, f"least of {STARTS} starts in turn"
        ),
    ]


def _bare() -> float:
    return _cpu(subprocess.Popen([sys.executable, "-c", "pass"]))


def _greeting(work: Path, function: Path, listener: ssl.SSLSocket) -> float:
    with tempfile.TemporaryDirectory(dir=work) as temporary:  # where no killed worker has left anything to be removed
        process = subprocess.Popen(
            [sys.executable, "-m", "worker_lambda", str(work / "event.json")],
            cwd=function,
            env={**os.environ, "TMPDIR": temporary, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            connection, _ = listener.accept()
            with connection:
                greeting = b""
                while len(greeting) < 13 + len(b"OK:HELLO"):
                    greeting += connection.recv(4096)
        finally:
            process.kill()
            took = _cpu(process)
    return took


def _cpu(process: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU, the system's for it included; waits for its end."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def _unpacked(directory: Path) -> Path:
    from mu_twisted.aws import build_package

    with zipfile.ZipFile(io.BytesIO(build_package([]))) as package:
        package.extractall(directory)
    return directory


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
