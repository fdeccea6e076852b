"""Streams: what is received, sent and said last, whatever the other side does meanwhile."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from worker_lambda.connection import Stream, TlsStream, client_context

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def ends(request: pytest.FixtureRequest, keys: Any, tmp_path: Path) -> Iterator[tuple[TlsStream, ssl.SSLSocket]]:
    """A stream that has shaken hands, and the library's own socket at the other end; neither blocks."""
    path = tmp_path / "pair"
    path.write_bytes(keys.rendezvous.certificate + keys.rendezvous.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.maximum_version = request.param
    server.load_cert_chain(path)
    here, there = socket.socketpair()
    for sock in (here, there):
        sock.setblocking(False)
    other = server.wrap_socket(there, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False)
    stream = TlsStream(here, client_context(keys.event(), tmp_path))
    done = False
    while not done:
        done = stream.shake()
        with suppress(ssl.SSLWantReadError):
            other.do_handshake()
    with suppress(ssl.SSLWantReadError):
        other.do_handshake()
    yield stream, other
    stream.close()
    other.close()


def all_of(stream: Stream) -> bytes:
    """What can be received now."""
    data = b""
    while piece := stream.receive():
        data += piece
    return data


def test_a_goodbye_can_be_said_while_the_other_side_still_sends(ends: tuple[TlsStream, ssl.SSLSocket]) -> None:
    stream, other = ends
    other.sendall(b"a" * 50_000)
    other.sendall(b"b" * 50_000)
    first = stream.receive()  # some of it; the rest is on the way, in the system's hands or in the library's
    assert first
    stream.close_writing()
    assert other.recv(1) == b""
    assert first + all_of(stream) == b"a" * 50_000 + b"b" * 50_000
    other.unwrap()
    assert stream.receive() == b""


def test_an_end_without_goodbye_is_no_end_in_due_form(ends: tuple[TlsStream, ssl.SSLSocket]) -> None:
    stream, other = ends
    other.sendall(b"last")
    socket.socket.shutdown(other, socket.SHUT_WR)
    assert stream.receive() == b"last"
    with pytest.raises(ssl.SSLEOFError):
        stream.receive()


def test_what_the_system_does_not_take_is_sent_later_and_nothing_is_lost(
    ends: tuple[TlsStream, ssl.SSLSocket],
) -> None:
    stream, other = ends
    body = bytes(range(256)) * 10_000
    left, came = memoryview(body), b""
    while left:
        count = stream.send(left)
        left = left[count:]
        if not count:
            assert stream.unsent
            with suppress(ssl.SSLWantReadError):
                came += other.recv(1 << 20)
    stream.flush()
    while len(came) < len(body):
        with suppress(ssl.SSLWantReadError):
            came += other.recv(1 << 20)
        stream.flush()
    assert came == body
    assert not stream.unsent


def test_nothing_is_not_the_end() -> None:
    here, there = socket.socketpair()
    here.setblocking(False)
    stream = Stream(here)
    assert stream.receive() is None
    there.sendall(b"x")
    assert stream.receive() == b"x"
    stream.close_writing()
    assert there.recv(1) == b""
    there.sendall(b"y")
    there.close()
    assert stream.receive() == b"y"
    assert stream.receive() == b""
    stream.close()
