"""Transfers as a coordinator sees them: through a worker that is a process."""

from __future__ import annotations

import os
import threading

import pytest
from s3_server import Handler, etag_of


@pytest.fixture
def talk(server, pair):
    return pair(bucket="b", region="us-east-1", s3_endpoint=server.url)[0]


def test_a_large_object_comes_and_goes(server, talk):
    data = os.urandom(20_000_000)
    server.objects[b"/b/k"] = data
    assert talk.ask(b"retrieve:k\0##TMPDIR##/f") == b"OK:RETRIEVE(b/k)"
    assert any("range" in headers for *_, headers in server.requests)
    assert talk.ask(b"upload:back\0##TMPDIR##/f") == b"OK:UPLOAD(b/back)"
    assert server.objects[b"/b/back"] == data


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda h: h.refuse(404, "NoSuchKey", "The specified\nkey does not exist."), b"404 NoSuchKey: The specified"),
        (lambda h: h.refuse(403, "AccessDenied", "Access Denied"), b"403 AccessDenied: Access Denied)"),
        (lambda h: h.answer(418, b"<html>\n" * 1000, {}), b": 418: "),
    ],
)
def test_what_fails_is_one_line_and_leaves_no_file(server, talk, action, words):
    server.choose = lambda h: action
    reply = talk.ask(b"retrieve:k\0##TMPDIR##/f")
    assert reply.startswith(b"FAIL(retrieving b:k->/")
    assert words in reply
    assert b"\n" not in reply
    assert talk.ask(b"run:ls -A ##TMPDIR##").startswith(b"OK:RETVAL(0):OUTPUT():")


def test_a_killed_transfer_is_told_at_once_and_leaves_no_file(server, talk):
    data = os.urandom(20_000_000)
    held, begun = threading.Event(), threading.Event()

    def stall() -> bytes:
        begun.set()
        held.wait(20)
        return b""

    def slowly(h: Handler) -> None:
        first, last = h.range or (0, len(data) - 1)
        named = {"etag": etag_of(data), "content-range": f"bytes {first}-{last}/{len(data)}"}
        h.answer(206 if h.range else 200, data[first : first + 9], named, length=last + 1 - first, rest=stall)

    server.choose = lambda h: slowly
    assert talk.ask(b"seti:nonblock:1") == b"OK:SETI(nonblock)"
    assert talk.ask(b"retrieve:k\0##TMPDIR##/f").startswith(b"OK:RETRIEVING(")
    assert begun.wait(10)
    assert talk.ask(b"kill:").endswith(b"it was killed)")
    assert talk.hear() == b"OK:KILL(0)"
    for _ in range(100):  # its threads look up every now and then
        talk.ask(b"run:sleep 0.05; ls -A ##TMPDIR##")
        if b"OUTPUT():" in talk.hear():
            break
    else:
        pytest.fail("a file is left")
    held.set()
