"""Coordinators that say nothing: one line soon, where one that is slow with an answer is waited for."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mu_twisted.client import Coordinator, TlsTransport, UnixTransport, _control
from mu_twisted.client._control import _readable
from mu_twisted.client._transport import CoordinatorError, Unreachable
from mu_twisted.tls import generate_keys, generate_operator

SILENCE_LIMIT = 0.3
ANSWERED_LIMIT = 180.0
"""Where an answer must come within it, on a busy machine too."""


@contextmanager
def server(listener: socket.socket, answer: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """Takes connections; of each it reads a request, and says what is answered, or nothing while it runs."""
    taken: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                taken.append(listener.accept()[0])
                threading.Thread(target=reply, args=[taken[-1]], daemon=True).start()

    def reply(connection: socket.socket) -> None:
        with suppress(OSError):
            said = answer(connection.recv(65536))
            if said is not None:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in taken:
            connection.close()


def unix(directory: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "control.sock"))
    listener.listen()
    return listener


@pytest.mark.parametrize("path", [("daemon",), ("jobs",), ("jobs", "x", "events")])
def test_a_coordinator_that_answers_nothing_is_told_soon(tmp_path: Path, path: tuple[str, ...]) -> None:
    with (
        server(unix(tmp_path), lambda _: None),
        pytest.raises(CoordinatorError, match=r"control\.sock does not answer within 0\.3 s: does its process hang\?"),
    ):
        Coordinator(UnixTransport(tmp_path, SILENCE_LIMIT)).get(*path)


def test_one_that_is_slow_with_one_answer_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_control, "_readable", lambda connection, _: _readable(connection, 0.05))
    probed = threading.Event()

    def answer(request: bytes) -> bytes:
        if request.startswith(b"GET /v1/daemon "):
            probed.set()
            return b"{}"
        probed.wait(180)
        return b'{"jobs": []}'

    with server(unix(tmp_path), answer):
        coordinator = Coordinator(UnixTransport(tmp_path, ANSWERED_LIMIT))
        assert coordinator.get("jobs", answer_timeout=2 * ANSWERED_LIMIT) == {"jobs": []}
    assert probed.is_set()


def test_an_address_that_takes_connections_and_speaks_no_tls_is_told_soon(tmp_path: Path) -> None:
    generate_keys(tmp_path)
    _, *_ = generate_operator(tmp_path, "anna", tmp_path)
    files: Any = [tmp_path / name for name in ("ca_cert.pem", "anna_cert.pem", "anna_key.pem")]
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with (
        server(listener, lambda _: None),
        pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{port} takes connections and says nothing within 0\.3 s: "),
    ):
        Coordinator(TlsTransport("127.0.0.1", port, *files, SILENCE_LIMIT)).get("jobs")
