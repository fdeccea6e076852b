"""Transfers as a coordinator sees them: through a worker that is a process."""

from __future__ import annotations

import os
import threading

import pytest
from s3_server import Handler, etag_of

from mu_twisted.jobs import is_hopeless
from mu_twisted.wire import failure_code
from mu_twisted.wire.byte_counts import ByteCounts


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


def test_what_was_moved_is_told_before_the_reply_if_the_coordinator_reads_it(server, pair):
    data = os.urandom(3_000)
    server.objects[b"/b/k"] = data
    talk = pair(bucket="b", job="j", capabilities=["byte-counts"], s3_endpoint=server.url)[0]
    talk.say(b"retrieve:k\0##TMPDIR##/f", b"retrieve:none\0##TMPDIR##/g", b"run:truncate -s 10 ##TMPDIR##/f")
    said = [talk.hear() for _ in range(4)]
    assert said[0] == ByteCounts(retrieved=3000).encode()
    assert [reply.partition(b"(")[0] for reply in said[1:]] == [b"OK:RETRIEVE", b"FAIL", b"OK:RETVAL"]
    talk.say(b"upload:back\0##TMPDIR##/f")
    assert [talk.hear(), talk.hear()] == [ByteCounts(3000, 10).encode(), b"OK:UPLOAD(b/back)"]
    assert talk.ask(b"reset:").startswith(b"OK:HELLO")
    talk.say(b"upload:again\0" + os.fsencode(__file__))
    assert talk.hear() == ByteCounts(uploaded=os.stat(__file__).st_size).encode()  # noqa: PTH116


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


def test_a_url_is_good_for_one_object_and_stays_on_the_worker(server, talk, pair):
    server.objects[b"/b/a film"] = b"0123456789"
    told = [talk.ask(b"presign:60:a film\0##TMPDIR##/url"), talk.ask(b"dump_vals:")]
    assert told[0] == b"OK:PRESIGN(b/a film)"
    (_, _, _, headers), *more = server.requests
    assert headers["range"] == "bytes=0-0"
    assert not more
    url = talk.ask(b"run:cat ##TMPDIR##/url").partition(b"OUTPUT(")[2].partition(b"\n")[0].decode()
    where, _, query = url.partition("?")
    assert where == f"{server.url}/b/a%20film"
    assert {part.partition("=")[0] for part in query.split("&")} == {
        *("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires"),
        *("X-Amz-SignedHeaders", "X-Amz-Security-Token", "X-Amz-Signature"),
    }
    assert not any(b"X-Amz" in reply for reply in told)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (b"presign:60:none\0##TMPDIR##/url", b"FAIL:NoSuchKey(cannot presign b/none: 404 NoSuchKey"),
        (b"presign:0:k\0##TMPDIR##/url", b"expected 1 to 604800 seconds"),
        (b"presign:604801:k\0##TMPDIR##/url", b"expected 1 to 604800 seconds"),
        (b"presign:0000000019999999999:k\0##TMPDIR##/url", b"expected 1 to 604800 seconds"),
        (b"presign:" + b"9" * 5000 + b":k\0##TMPDIR##/url", b"expected 1 to 604800 seconds"),
        (b"presign:k\0##TMPDIR##/url", b"expected 1 to 604800 seconds"),
        (b"presign:60:k", b"FAIL:BadCommand(could not compute download params"),
        (b"presign:60:k\0##TMPDIR##/none/url", b"No such file or directory"),
    ],
)
def test_what_has_no_url_is_one_line_and_leaves_no_file(server, pair, command, said):
    server.objects[b"/b/k"] = b"x"
    talk = pair(bucket="b", job="j", capabilities=["failure-codes"], s3_endpoint=server.url)[0]
    reply = talk.ask(command)
    assert reply.startswith(b"FAIL")
    assert said in reply
    assert b"\n" not in reply
    assert talk.ask(b"run:ls -A ##TMPDIR##").startswith(b"OK:RETVAL(0):OUTPUT():")


HOPELESS = {
    "no object": (b"retrieve:k\0##TMPDIR##/f", lambda h: h.refuse(404, "NoSuchKey", "gone"), b"NoSuchKey"),
    "no bucket": (b"retrieve:k\0##TMPDIR##/f", lambda h: h.refuse(404, "NoSuchBucket", "gone"), b"NoSuchBucket"),
    "a long key": (b"retrieve:k\0##TMPDIR##/f", lambda h: h.refuse(400, "KeyTooLongError", "long"), b"KeyTooLongError"),
    "no file": (b"upload:k\0##TMPDIR##/none", None, b"NoSuchFile"),
    "no file below a file": (b"upload:k\0/etc/passwd/none", None, b"NoSuchFile"),
    "a directory": (b"upload:k\0##TMPDIR##", None, b"NotAFile"),
    "no key": (b"upload:\0##TMPDIR##/f", None, b"BadCommand"),
    "no NUL": (b"upload:key", None, b"BadCommand"),
    "NUL in a file": (b"upload:k\0a\0b", None, b"BadCommand"),
    "NUL in a command": (b"run:a\0b", None, b"BadCommand"),
    "a long command": (b"run:true #" + b"x" * 200_000, None, b"BadCommand"),
    "no command": (b"nosuch:", None, b"BadCommand"),
    "no number": (b"seti:a:b", None, b"BadCommand"),
}


@pytest.mark.parametrize("case", HOPELESS)
def test_what_fails_each_time_has_a_code_for_a_coordinator_that_reads_it(server, talk, pair, case):
    command, action, code = HOPELESS[case]
    server.choose = lambda h: action
    told = pair(bucket="b", job="j", capabilities=["failure-codes"], s3_endpoint=server.url)[0].ask(command)
    assert told.startswith(b"FAIL:" + code + b"(")
    plain = talk.ask(command)
    assert plain.startswith(b"FAIL(")
    assert is_hopeless(failure_code(told.decode()))
    assert not is_hopeless(failure_code(plain.decode()))


@pytest.mark.parametrize("code", ["InternalError", "AccessDenied", "Odd (code", "\u6f22", "x" * 100, ""])
def test_what_may_be_done_by_another_attempt_is_not_hopeless(server, pair, code):
    server.choose = lambda h: lambda h: h.refuse(403, code, "no")
    talk = pair(bucket="b", job="j", capabilities=["failure-codes"], s3_endpoint=server.url)[0]
    told = talk.ask(b"retrieve:k\0##TMPDIR##/f").decode()
    assert told.startswith("FAIL")
    assert not is_hopeless(failure_code(told))


def test_a_killed_transfer_is_told_at_once_and_leaves_no_file(server, talk):
    data = os.urandom(20_000_000)
    held, begun = threading.Event(), threading.Event()

    def stall() -> bytes:
        begun.set()
        held.wait(180)
        return b""

    def slowly(h: Handler) -> None:
        first, last = h.range or (0, len(data) - 1)
        named = {"etag": etag_of(data), "content-range": f"bytes {first}-{last}/{len(data)}"}
        h.answer(206 if h.range else 200, data[first : first + 9], named, length=last + 1 - first, rest=stall)

    server.choose = lambda h: slowly
    assert talk.ask(b"seti:nonblock:1") == b"OK:SETI(nonblock)"
    assert talk.ask(b"retrieve:k\0##TMPDIR##/f").startswith(b"OK:RETRIEVING(")
    assert begun.wait(180)
    assert talk.ask(b"kill:").endswith(b"it was killed)")
    assert talk.hear() == b"OK:KILL(0)"
    for _ in range(1000):  # its threads look up every now and then
        talk.ask(b"run:sleep 0.05; ls -A ##TMPDIR##")
        if b"OUTPUT():" in talk.hear():
            break
    else:
        pytest.fail("a file is left")
    held.set()
