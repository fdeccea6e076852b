"""Large objects over several connections: what comes together, what is tried again, what ends all of it."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import zlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3_server import TRANSIENT, Handler, etag_of, failure, never

from worker_lambda.s3 import S3, S3Cancelled
from worker_lambda.s3._crc import joined

RANGE = 100_000
SIZE = 12 * RANGE + 345


@pytest.fixture
def ranged(server):
    client = S3("us-east-1", server.url, back_off=0.001, timeout=180.0, range_size=RANGE)
    yield client
    client.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "mu-range"]


@pytest.fixture
def data(server):
    server.objects[b"/b/k"] = os.urandom(SIZE)
    return server.objects[b"/b/k"]


def cut(data: bytes, **headers: str):
    """The whole object is promised, and its first one and a half ranges come: the others must be asked for."""
    named = {"etag": etag_of(data), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lambda h: h.answer(200, data[: RANGE * 3 // 2], named, length=len(data))


def in_ranges(server, data: bytes, answer=lambda handler: None, **headers: str) -> None:
    """Have the object cut off in the first answer, and ranges answered by ``answer``, where it has one."""
    server.choose = lambda h: cut(data, **headers) if h.range is None else answer(h)


@given(st.binary(max_size=500), st.binary(max_size=500))
def test_the_sum_of_two_stretches_is_that_of_both_together(one, other):
    assert joined(zlib.crc32(one), zlib.crc32(other), len(other)) == zlib.crc32(one + other)


def test_a_large_object_comes_over_four_connections_at_once_and_is_whole(server, ranged, tmp_path, data):
    together = threading.Barrier(4)
    clients = set()

    def choose(h: Handler):
        if h.range is None:
            return lambda h: h.answer(200, data[:50], {"etag": etag_of(data)}, length=SIZE, rest=rest)
        new = h.client_address not in clients
        clients.add(h.client_address)
        if new:
            together.wait(180)
        return None

    def rest() -> bytes:
        together.wait(180)
        return data[50:]

    server.choose = choose
    ranged.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == data
    assert len(clients) == 3
    assert len(list(tmp_path.iterdir())) == 1
    ranges = [headers["range"] for *_, headers in server.requests if "range" in headers]
    assert len(set(ranges)) == len(ranges), "no range twice"


@pytest.mark.parametrize("fault", TRANSIENT)
def test_each_range_is_tried_again_by_itself(server, ranged, tmp_path, data, fault):
    tried = Counter()

    def answer(h: Handler):
        with server.lock:
            tried[h.range] += 1
            return TRANSIENT[fault] if tried[h.range] == 1 else None

    in_ranges(server, data, answer)
    ranged.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == data
    assert set(tried.values()) == {2}
    assert len([headers for *_, headers in server.requests if "range" not in headers]) == 1


def test_a_range_that_stands_still_is_tried_again(server, tmp_path, data):
    held, tried = threading.Event(), []
    first, last = 5 * RANGE, 6 * RANGE - 1
    named = {"etag": etag_of(data), "content-range": f"bytes {first}-{last}/{SIZE}"}

    def answer(h: Handler):
        if h.range != (first, last):
            return None
        tried.append(h.range)
        if len(tried) > 1:
            return None
        return lambda h: h.answer(206, data[first : first + 10], named, length=RANGE, rest=pause)

    def pause() -> bytes:
        held.wait(180)
        return b""

    in_ranges(server, data, answer)
    client = S3("us-east-1", server.url, back_off=0.001, timeout=1.0, range_size=RANGE)
    client.get("b", b"k", str(tmp_path / "out"), never)
    client.close()
    held.set()
    assert (tmp_path / "out").read_bytes() == data
    assert len(tried) >= 2  # on a slow machine more answers than this one may come too late


def test_a_range_that_fails_for_good_ends_all_and_is_named(server, ranged, tmp_path, data):
    wrong = (SIZE - 345, SIZE - 1)
    in_ranges(
        server, data, lambda h: (lambda h: h.refuse(403, "AccessDenied", "Access Denied")) if h.range == wrong else None
    )
    text = failure(ranged.get, "b", b"k", str(tmp_path / "out"), never)
    assert text == f"cannot get b/k: bytes {wrong[0]} to {wrong[1]}: 403 AccessDenied: Access Denied"
    assert not list(tmp_path.iterdir())
    assert len([headers for *_, headers in server.requests if "range" not in headers]) == 1


def test_a_range_that_breaks_again_and_again_ends_all_after_five_tries(server, ranged, tmp_path, data):
    (tmp_path / "out").write_bytes(b"old")
    in_ranges(server, data, lambda h: Handler.reset if h.range[0] == 5 * RANGE else None)
    text = failure(ranged.get, "b", b"k", str(tmp_path / "out"), never)
    assert f"bytes {5 * RANGE} to {6 * RANGE - 1}: " in text
    assert text.endswith("(tried 5 times)")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_an_object_that_vanishes_between_ranges_is_one_line_and_leaves_nothing(server, ranged, tmp_path, data):
    in_ranges(server, data, lambda h: server.objects.clear())
    text = failure(ranged.get, "b", b"k", str(tmp_path / "out"), never)
    assert text.endswith("404 NoSuchKey: The specified key does not exist.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("matches", [True, False], ids=["If-Match", "ETag"])
def test_an_object_that_is_replaced_between_ranges_is_fetched_anew(server, ranged, tmp_path, data, matches):
    other = os.urandom(SIZE)
    server.knows_if_match = matches

    def choose(h: Handler):
        if h.range is None:
            return cut(server.objects[b"/b/k"])
        server.objects[b"/b/k"] = other
        return None

    server.choose = choose
    ranged.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == other
    assert len([headers for *_, headers in server.requests if "range" not in headers]) == 2


def test_an_object_that_never_stays_the_same_is_said_to_be_replaced(server, ranged, tmp_path, data):
    def choose(h: Handler):
        if h.range is None:
            return cut(server.objects[b"/b/k"])
        server.objects[b"/b/k"] = os.urandom(SIZE)
        return None

    server.choose = choose
    text = failure(ranged.get, "b", b"k", str(tmp_path / "out"), never)
    assert text == "cannot get b/k: the object was replaced while it was fetched (tried 5 times)"
    assert not list(tmp_path.iterdir())


def test_a_cancelled_download_ends_all_its_connections_and_leaves_nothing(server, ranged, tmp_path, data):
    held = threading.Event()
    waiting = threading.Barrier(4)
    all_wait = threading.Event()

    def rest() -> bytes:
        if waiting.wait(180) == 0:
            all_wait.set()
        held.wait(180)
        return b""

    named = {"etag": etag_of(data)}
    server.choose = lambda h: (
        lambda h: h.answer(206 if h.range else 200, data[:50], named, length=RANGE if h.range else SIZE, rest=rest)
    )
    try:
        with pytest.raises(S3Cancelled, match="cannot get b/k: cancelled"):
            ranged.get("b", b"k", str(tmp_path / "out"), all_wait.is_set)
    finally:
        held.set()
    assert not list(tmp_path.iterdir())


def test_a_transfer_that_was_cancelled_at_its_very_end_does_not_appear(server, ranged, tmp_path, data):
    server.objects[b"/b/small"] = b"x"
    for key, whole in ((b"k", SIZE), (b"small", 1)):

        def there(whole=whole) -> bool:
            return any(path.stat().st_size >= whole for path in tmp_path.iterdir())

        with pytest.raises(S3Cancelled):
            ranged.get("b", key, str(tmp_path / "out"), there)
        assert not list(tmp_path.iterdir())


def test_a_server_that_does_no_ranges_is_read_from_one_answer(server, ranged, tmp_path, data):
    calls = []

    def choose(h: Handler):
        calls.append(h.range)
        if h.range is None:
            return cut(data) if len(calls) == 1 else None
        return lambda h: h.answer(200, data, {"etag": etag_of(data)})

    server.choose = choose
    ranged.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == data
    assert calls.count(None) == 2


@pytest.mark.parametrize("wrong", ["bytes 0-99999/{size}", "bytes {first}-{last}/77", "garbage"])
def test_other_bytes_than_those_that_were_asked_for_are_not_taken(server, ranged, tmp_path, data, wrong):
    def choose(h: Handler):
        if h.range is None:
            return None if any("range" in headers for *_, headers in server.requests) else cut(data)
        first, last = h.range
        named = {"etag": etag_of(data), "content-range": wrong.format(first=first, last=last, size=SIZE)}
        return lambda h: h.answer(206, bytes(last + 1 - first), named)

    server.choose = choose
    ranged.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == data


@pytest.mark.parametrize("etag", ["", 'W/"weak"', "bare", '"a\tb"'])
def test_without_an_etag_that_can_be_compared_one_connection_does_it(server, ranged, tmp_path, data, etag):
    server.choose = lambda h: lambda h: h.answer(200, data, {"etag": etag} if etag else {})
    ranged.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == data
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["crc32", "sha1", "sha256", "sha512", "md5"])
@pytest.mark.parametrize("right", [True, False])
def test_the_objects_checksum_is_that_of_all_ranges_together(server, ranged, tmp_path, data, name, right):
    digest = zlib.crc32(data).to_bytes(4) if name == "crc32" else hashlib.new(name, data).digest()
    value = base64.b64encode(digest).decode()
    damaged = data[: 4 * RANGE] + b"?" + data[4 * RANGE + 1 :] if data[4 * RANGE] != 63 else data[:-1] + b"??"

    def answer(h: Handler):
        first, last = h.range
        named = {"etag": etag_of(data), "content-range": f"bytes {first}-{last}/{SIZE}"}
        return lambda h: h.answer(206, (data if right else damaged)[first : last + 1], named)

    in_ranges(server, data, answer, **{f"x_amz_checksum_{name}": value})
    if right:
        ranged.get("b", b"k", str(tmp_path / "out"), never)
        assert (tmp_path / "out").read_bytes() == data
    else:
        text = failure(ranged.get, "b", b"k", str(tmp_path / "out"), never)
        assert "checksum is not the object's" in text
        assert text.endswith("(tried 5 times)")
        assert not list(tmp_path.iterdir())


def test_eight_large_objects_at_once_have_eight_more_connections_together(server, ranged, tmp_path, data):
    in_work, most = set(), []
    all_work = threading.Event()

    def rest(h: Handler) -> bytes:
        with server.lock:
            in_work.add(h.client_address)
            most.append(len(in_work))
        if len(in_work) == 16:
            all_work.set()
        all_work.wait(180)
        with server.lock:
            in_work.remove(h.client_address)
        first, last = h.range or (0, SIZE - 1)
        return data[first : last + 1]

    def slowly(h: Handler) -> None:
        first, last = h.range or (0, SIZE - 1)
        named = {"etag": etag_of(data), "content-range": f"bytes {first}-{last}/{SIZE}"}
        h.answer(206 if h.range else 200, b"", named, length=last + 1 - first, rest=lambda: rest(h))

    server.choose = lambda h: slowly
    threads = [
        threading.Thread(target=ranged.get, args=("b", b"%d" % number, str(tmp_path / str(number)), never))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert [path.read_bytes() == data for path in tmp_path.iterdir()] == [True] * 8
    assert max(most) == 16
