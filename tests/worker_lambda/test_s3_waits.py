"""Servers that stand still at every stage: given up in time, and at once where the transfer is cancelled."""

from __future__ import annotations

import datetime
import socket
import threading
from itertools import count

import pytest
from free_ports import refusing_port
from s3_server import Handler, failure

from mu_twisted.tls import Authority
from worker_lambda.s3 import S3, S3Cancelled

SIZE = 30_000_000
"""Bytes; more than the system takes for a server that reads none."""


@pytest.fixture
def still(server):
    """Accepts, and then does nothing: an address, and an event that says when a client is there."""
    there = threading.Event()
    held = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            try:
                while True:
                    held.append(listening.accept()[0])
                    there.set()
            except OSError:
                return

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"//127.0.0.1:{listening.getsockname()[1]}", there
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in held:
        connection.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("verb", ["get", "put"])
def test_a_transfer_is_cancelled_at_once_whatever_it_waits_for(still, tmp_path, scheme, verb):
    address, there = still
    (tmp_path / "file").write_bytes(bytes(SIZE))
    client = S3("us-east-1", f"{scheme}:{address}", timeout=3600)  # which is far too long to wait for
    with pytest.raises(S3Cancelled):
        getattr(client, verb)("b", b"k", str(tmp_path / "file"), there.is_set)
    assert (tmp_path / "file").stat().st_size == SIZE
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
@pytest.mark.parametrize("begun", [None, b"", b"some"], ids=["in the head", "after the head", "in the body"])
def test_a_body_that_stands_still_is_cancelled_at_once(server, tmp_path, monkeypatch, secure, chunked, begun):
    if secure:
        authority = Authority.generate()
        pair = authority.issue(None, hosts=["127.0.0.1"], lifetime=datetime.timedelta(hours=1))
        (tmp_path / "pair").write_bytes(pair.certificate + pair.key)
        (tmp_path / "ca").write_bytes(authority.certificate)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca"))
        server.secure(str(tmp_path / "pair"))
    held, there = threading.Event(), threading.Event()

    def stand_still(h: Handler) -> None:
        if begun is None:
            h.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-")
        else:
            h.send_response(200)
            h.send_header(*(("transfer-encoding", "chunked") if chunked else ("content-length", "1000")))
            h.end_headers()
            h.wfile.write(b"%x\r\n%b\r\n" % (len(begun), begun) if chunked and begun else begun)
        there.set()
        held.wait(180)
        h.close_connection = True

    server.script = [stand_still]
    client = S3("us-east-1", server.url, timeout=3600)
    looks = count()

    def cancelled() -> bool:
        """What was sent before has been read by now: the wait that is cancelled is the one for the rest."""
        return there.is_set() and next(looks) > 3

    try:
        with pytest.raises(S3Cancelled):
            client.get("b", b"k", str(tmp_path / "out"), cancelled)
    finally:
        held.set()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scheme", "verb", "why"),
    [
        ("http", "get", "no answer in 0.1 s"),
        ("http", "put", "nothing taken in 0.1 s"),
        ("https", "get", "no TLS in 0.1 s"),
    ],
)
def test_a_wait_that_takes_too_long_is_named_and_tried_again(still, tmp_path, scheme, verb, why):
    (tmp_path / "file").write_bytes(bytes(SIZE))
    client = S3("us-east-1", f"{scheme}:{still[0]}", tries=2, back_off=0.001, timeout=0.1)
    text = failure(getattr(client, verb), "b", b"k", str(tmp_path / "file"), lambda: False)
    assert text.endswith(f"{why} (tried 2 times)")


def test_an_unknown_host_and_a_port_without_a_server_are_named(server, tmp_path):
    with refusing_port() as port:
        for address, why in [
            (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}: Connection refused"),
            ("https://nowhere.invalid", ""),
        ]:
            client = S3("us-east-1", address, tries=2, back_off=0.001)
            text = failure(client.get, "b", b"k", str(tmp_path / "out"), lambda: False)
            assert text.startswith(f"cannot get b/k: {address.partition('//')[2]}: ")
            assert text.endswith(f"{why} (tried 2 times)")
    assert not list(tmp_path.iterdir())
