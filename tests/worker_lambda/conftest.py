"""A coordinator by hand, and workers as processes that dial it."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from s3_server import ACCESS, SECRET, TOKEN, Server, serving

from mu_twisted.tls import Authority, KeyPair, LaunchIdentity, Role, RoleIdentity, TaskIdentity, pem_body
from mu_twisted.wire import MAX_PEER_MESSAGE, Decoder, encode
from worker_lambda._event import parse_event
from worker_lambda._expansion import WorkerPaths
from worker_lambda._lambda_context import LambdaContext, Timing
from worker_lambda._worker import WorkerLoop
from worker_lambda.s3 import S3

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT = 180.0


class Talk:
    """The coordinator's end of one connection, or the rendezvous's."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(TIMEOUT)
        self.sock = sock
        self._decoder = Decoder(MAX_PEER_MESSAGE)
        self._payloads: list[bytes] = []

    def say(self, *payloads: bytes) -> None:
        self.sock.sendall(b"".join(map(encode, payloads)))

    def hear(self) -> bytes:
        """The next reply; EOFError when the worker has closed."""
        while not self._payloads:
            data = self._receive()
            if not data:
                raise EOFError
            self._payloads += self._decoder.feed(data)
        return self._payloads.pop(0)

    def _receive(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def goodbye(self) -> None:
        """Close in due form."""
        if isinstance(self.sock, ssl.SSLSocket):
            with suppress(OSError):
                self.sock.unwrap()
        self.sock.close()

    def ask(self, payload: bytes) -> bytes:
        self.say(payload)
        return self.hear()

    def close(self) -> None:
        self.sock.close()


class Coordinator:
    """A listener on loopback, as a coordinator or a rendezvous has. Its port stays taken when it is closed.

    :param pair: what it shows, with the CA's certificate; None for plain TCP.
    """

    def __init__(
        self, files: Path, pair: KeyPair | None = None, ca: bytes = b"", port: int = 0, host: str = "127.0.0.1"
    ) -> None:
        self._files = files
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._held = socket.socket(family)  # bound, and never listening
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind((host, port))
        self._listener = socket.create_server(self._held.getsockname()[:2], family=family)
        self._listener.settimeout(TIMEOUT)
        self.port: int = self._listener.getsockname()[1]
        self._talks: list[Talk] = []
        self._context: ssl.SSLContext | None = None
        if pair is not None:
            path = files / "pair.pem"
            path.write_bytes(pair.certificate + pair.key)
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(path)
            self._context.load_verify_locations(cadata=ca.decode())
            self._context.verify_mode = ssl.CERT_REQUIRED

    def accept(self) -> Talk:
        return self.adopt(self._listener.accept()[0])

    def adopt(self, sock: socket.socket) -> Talk:
        """Make a talk of a connection that was taken."""
        sock.settimeout(TIMEOUT)
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
        talk = Talk(sock)
        self._talks.append(talk)
        return talk

    def close(self) -> None:
        """Close all connections; others are refused from now on."""
        for talk in self._talks:
            talk.close()
        self._listener.close()

    def end(self) -> None:
        """Close, and give the port back."""
        self.close()
        self._held.close()


class Keys:
    """A CA and what the two sides show, as event keys too."""

    def __init__(self) -> None:
        self.authority = Authority.generate()
        self.coordinator = self._issue(RoleIdentity(Role.COORDINATOR))
        self.rendezvous = self._issue(RoleIdentity(Role.RENDEZVOUS))
        self.without_identity = self._issue(None)
        self.launch = self._issue(LaunchIdentity("j"))

    def _issue(self, identity: Any) -> KeyPair:
        return self.authority.issue(identity, lifetime=timedelta(hours=1))

    def task(self, number: int, attempt: int = 1) -> bytes:
        """The argument of an ``identity:``."""
        pair = self._issue(TaskIdentity("j", number, attempt))
        return f"{pem_body(pair.certificate)} {pem_body(pair.key)}".encode()

    def event(self) -> dict[str, str]:
        return {
            "cacert": pem_body(self.authority.certificate),
            "srvcrt": pem_body(self.launch.certificate),
            "srvkey": pem_body(self.launch.key),
        }


class WorkerProcess:
    """``python -m worker_lambda``."""

    def __init__(self, directory: Path, event: dict[str, Any], command: bytes | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.temporary = directory / "tmp"
        self.temporary.mkdir(exist_ok=True)
        arguments = [str(directory / "event.json")]
        (directory / "event.json").write_text(json.dumps(event))
        if command is not None:
            (directory / "command").write_bytes(command)
            arguments.append(str(directory / "command"))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker_lambda", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def result(self) -> tuple[dict[str, Any], str]:
        """What it returned and what it logged, once it has ended."""
        out, err = self.process.communicate(timeout=TIMEOUT)
        return json.loads(out.splitlines()[-1]), err.decode()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Here:
    """A worker in a thread of this process, with waiting times of its own."""

    def __init__(self, directory: Path, event: dict[str, Any], timing: Timing, init_ms: int) -> None:
        self.log: list[str] = []
        self._result: list[dict[str, str]] = []
        place = WorkerPaths(directory, directory / "mu_command", directory)
        worker = WorkerLoop(parse_event(event), place, LambdaContext(init_ms=init_ms), self.log.append, timing)
        self._thread = threading.Thread(target=lambda: self._result.append(worker.serve()))
        self._thread.start()

    def result(self) -> dict[str, str]:
        self._thread.join(TIMEOUT)
        return self._result[0]


@pytest.fixture
def here(tmp_path: Path) -> Callable[..., Here]:
    def begin(event: dict[str, Any], *, init_ms: int = 0, **timing: float) -> Here:
        return Here(tmp_path, event, Timing(**{"redial": 0.05, **timing}), init_ms)

    return begin


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    made = Coordinator(tmp_path)
    yield made
    made.end()


@pytest.fixture
def tls_coordinator(tmp_path: Path, keys: Keys) -> Iterator[Coordinator]:
    made = Coordinator(tmp_path, keys.coordinator, keys.authority.certificate)
    yield made
    made.end()


@pytest.fixture
def make_coordinator(tmp_path: Path, keys: Keys) -> Iterator[Callable[..., Coordinator]]:
    """Make listeners; given no pair, of plain TCP."""
    made: list[Coordinator] = []

    def make(pair: KeyPair | None = None, port: int = 0, host: str = "127.0.0.1") -> Coordinator:
        made.append(Coordinator(tmp_path, pair, keys.authority.certificate, port, host))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Start workers; they are ended with the test."""
    started: list[WorkerProcess] = []

    def start_one(event: dict[str, Any], command: bytes | None = None) -> WorkerProcess:
        started.append(WorkerProcess(tmp_path / f"worker{len(started)}", event, command))
        return started[-1]

    yield start_one
    for each in started:
        each.close()


def event_for(coordinator: Coordinator, **more: Any) -> dict[str, Any]:
    return {"mode": 1, "addr": "127.0.0.1", "port": coordinator.port, **more}


@pytest.fixture
def event() -> Callable[..., dict[str, Any]]:
    """An event for a listener, with more keys if wanted."""
    return event_for


@pytest.fixture
def pair(coordinator: Coordinator, start: Callable[..., WorkerProcess]) -> Callable[..., tuple[Talk, WorkerProcess]]:
    """A worker that has greeted over plain TCP, and the talk with it."""

    def dialled(command: bytes | None = None, **more: Any) -> tuple[Talk, WorkerProcess]:
        worker = start(event_for(coordinator, **more), command)
        talk = coordinator.accept()
        assert talk.hear().startswith(b"OK:HELLO")
        return talk, worker

    return dialled


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An S3 that misbehaves as it is asked to, with credentials for it in the environment."""
    for name, value in (("ACCESS_KEY_ID", ACCESS), ("SECRET_ACCESS_KEY", SECRET), ("SESSION_TOKEN", TOKEN)):
        monkeypatch.setenv(f"AWS_{name}", value)
    with serving() as server:
        yield server


@pytest.fixture
def s3(server: Server) -> Iterator[S3]:
    """A client of it that waits for its answers, and hardly between tries."""
    client = S3("us-east-1", server.url, back_off=0.001, timeout=TIMEOUT)
    yield client
    client.close()
