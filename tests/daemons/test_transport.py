"""twistd as a daemon, in a fork: on either transport it accepts workers, refuses others in the same words, and ends."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from encoder_jobs import TWISTD, environment
from warm_processes import LIMIT

from mu_twisted.tls import Authority, LaunchIdentity
from mu_twisted.wire import Decoder, encode

pytestmark = pytest.mark.process


def wait_for(path: Path, text: str) -> str:
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        if path.exists() and text in (said := path.read_text()):
            return said
        time.sleep(0.02)
    raise AssertionError(f"{path.name} says no {text!r}: {path.read_text() if path.exists() else 'it is not there'}")


def client_context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.certificate.decode())
    return context


def replies(connection: ssl.SSLSocket) -> list[bytes]:
    """All that the coordinator says until it closes the connection."""
    decoder, found = Decoder(1 << 20), list[bytes]()
    while data := connection.recv(1 << 16):
        found += decoder.feed(data)
    return found


@pytest.mark.parametrize("transport", ["core", "twisted"])
def test_a_daemon_in_a_fork_speaks_with_workers_and_ends(tmp_path: Path, transport: str) -> None:
    if transport == "core":
        pytest.importorskip("mu_twisted.transport._core")
    environ = environment(tmp_path, {"MU_TRANSPORT": transport})
    words = ["mu-coordinator", "-t", "tcp:0:interface=127.0.0.1", "--state-dir", "state", "--io-threads", "3"]
    log, pid = tmp_path / "log", tmp_path / "pid"
    started = subprocess.run(
        [sys.executable, *TWISTD[3:-2], "--logfile=log", "--pidfile=pid", *words],
        env=environ,
        cwd=tmp_path,
        check=False,
        timeout=LIMIT,
    )
    assert started.returncode == 0
    number = int(pid.read_text())
    try:
        wait_for(log, "ready for workers on port ")
        address = ("127.0.0.1", int((tmp_path / "state" / "port").read_text()))
        authority = Authority.open(tmp_path / "state" / "tls")
        context = client_context(authority)
        with (
            socket.create_connection(address, LIMIT) as plain,
            context.wrap_socket(plain) as bare,
            pytest.raises(OSError, match="."),  # an alert, or a reset
        ):
            bare.recv(1)
        wait_for(log, "TLS failed: it showed no certificate")
        pair = authority.issue(LaunchIdentity("nojob"), lifetime=timedelta(hours=1))
        (tmp_path / "pair.pem").write_bytes(pair.certificate + pair.key)
        context.load_cert_chain(tmp_path / "pair.pem")
        with socket.create_connection(address, LIMIT) as plain, context.wrap_socket(plain) as worker:
            worker.sendall(encode(b"OK:HELLO"))
            assert replies(worker) == [b"quit:"]
        wait_for(log, "comes for job nojob, which is not or no longer running: dismissed")
        status = subprocess.run(
            [f"{sys.prefix}/bin/mu", "status", "--state-dir", "state"],
            env=environ,
            cwd=tmp_path,
            check=True,
            timeout=LIMIT,
            capture_output=True,
            text=True,
        )
        assert {"core": "transport the core", "twisted": "transport Twisted's TLS"}[transport] in status.stdout
        told = "connections are carried by Twisted's TLS, as MU_TRANSPORT says"
        assert log.read_text().count(told) == (transport == "twisted")
    finally:
        os.kill(number, signal.SIGTERM)
    until = time.monotonic() + LIMIT
    while pid.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not pid.exists()
    assert "Traceback" not in log.read_text()
