"""``twistd mu-coordinator`` as a process with few descriptors: callers, journal and S3 are served all the same."""

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from daemon_processes import Local
from encoder_jobs import TWISTD, environment
from warm_processes import LIMIT

from mu_twisted.tls import Authority, LaunchIdentity

pytestmark = pytest.mark.process

FEW = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"]
MU = [sys.executable, "-c", "from mu_twisted.cli import main; main()"]


def worker_context(local: Local, directory: Path) -> ssl.SSLContext:
    authority = Authority.open(local.state_dir / "tls")
    pair = authority.issue(LaunchIdentity("j"), lifetime=timedelta(hours=1))
    path = directory / "worker.pem"
    path.write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.certificate.decode())
    context.load_cert_chain(path)
    return context


@pytest.mark.long
def test_jobs_run_while_silent_peers_hold_all_that_the_listener_has(local: Local, tmp_path: Path) -> None:
    words = ["mu-coordinator", "--local", "--state-dir", str(local.state_dir), "-t", "0"]
    process = subprocess.Popen(
        [*FEW, *TWISTD, *words], env=environment(tmp_path, {}), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )

    def mu(*words: str) -> str:
        done = subprocess.run(
            [*MU, words[0], "--state-dir", str(local.state_dir), *words[1:]],
            env=environment(tmp_path, {}),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert process.stderr is not None
    said: list[str] = []
    with contextlib.ExitStack() as held:
        try:
            line = ""
            while "ready for workers on port" not in line:
                line = process.stderr.readline()
                assert line, "it ended before it was ready"
            errors = process.stderr
            reading = threading.Thread(target=lambda: said.extend(errors), daemon=True)
            reading.start()
            address = ("127.0.0.1", int(line.split()[-1]))
            context = worker_context(local, tmp_path)
            for number in range(300):
                peer = held.enter_context(socket.create_connection(address, LIMIT))
                if number % 4 == 0:
                    with contextlib.suppress(OSError):
                        held.enter_context(context.wrap_socket(peer))
            mu("jobs")
            local.control.put_object(local.BUCKET, "few/in", b"abc")
            where = ["-b", local.BUCKET, "-l", local.FUNCTION, "--in", "few/in", "--out", "few/out"]
            job = mu("submit", "exec", *where, "-n", "1", "--", "rev < {in} > {out}")
            mu("wait", job.split()[0])
            assert local.control.get_object(local.BUCKET, "few/out") == b"cba"
            assert "done" in mu("status", job.split()[0])
        finally:
            process.terminate()
            process.wait(LIMIT)
    reading.join(LIMIT)
    errors.close()
    assert "Traceback" not in "".join(said)
    assert "Too many open files" not in "".join(said)
