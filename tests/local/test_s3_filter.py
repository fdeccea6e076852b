"""Which requests reach SeaweedFS: those that name keys which it keeps apart, byte for byte as they came."""

from __future__ import annotations

from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.local._s3_filter import MOST_HEAD, Refusal, RequestFilter, fault_of_key

KEPT = [
    b"a",
    b"a/b/c",
    b"a.b/..c/d../...",
    b"sp ace/sp+ace/sp%20ace",
    b"\xc3\xa9\xff\x01\n",
    b"x" * 255 + b"/" + b"y" * 255,
    b"uploads/.uploads",
    b"x.versions",
    b"?#&=;",
]
FOLDED = [
    b"/a",
    b"a//b",
    b"a///b",
    b"//",
    b"/",
    b"a//",
    b"a\\b",
    b"\\",
    b"a\\",
    b"./a",
    b"a/./b",
    b"a/..",
    b"..",
    b".",
    b"a/../b",
    b"a\0b",
    b"x" * 256,
    b"a/" + "é".encode() * 128,
    b".uploads",
    b".uploads/x",
    b"x.versions/y",
    b"a/.versions/y",
]


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = {"Host": "127.0.0.1:1", "Content_Length": str(len(body)), **headers}
    text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode() + body


def sent_on(*pieces: bytes) -> tuple[bytes, Refusal | None]:
    """What passes of a connection's bytes, and why no more does."""
    one = RequestFilter()
    passed = b""
    for piece in pieces:
        for found in one.feed(piece):
            if isinstance(found, Refusal):
                return passed, found
            passed += found
    return passed, None


@pytest.mark.parametrize("key", KEPT)
def test_a_key_that_is_kept_may_pass(key: bytes) -> None:
    assert fault_of_key(key, empty=False) is None
    whole = request("PUT", f"/bucket/{quote(key)}", b"body") + request("GET", f"/bucket/{quote(key)}?versionId=1")
    assert sent_on(whole) == (whole, None)


@pytest.mark.parametrize("key", FOLDED)
@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE", "POST"])
def test_a_key_that_is_folded_is_refused_by_every_method(key: bytes, method: str) -> None:
    for path in (quote(key), quote(key, safe=""), "".join(f"%{byte:02x}" for byte in key)):
        passed, refusal = sent_on(request(method, f"/bucket/{path}?uploadId=1", b"body"))
        assert passed == b""
        assert refusal is not None
        assert (refusal.status, refusal.code) == ("400 Bad Request", "InvalidRequest")
        assert "cannot keep the key" in refusal.message
        assert "\n" not in refusal.message


@pytest.mark.parametrize(
    "made",
    [
        request("PUT", "/b/dir/", b"x"),
        request("PUT", "/b/dir/", b"5;chunk-signature=0\r\nhello\r\n", x_amz_decoded_content_length="5"),
        request("PUT", "/b/dir/", x_amz_copy_source="b/other"),
        request("POST", "/b/dir/?uploads"),
        request("PUT", "/b/dir/?partNumber=1&uploadId=2", b"x"),
        request("PUT", "/b/dir/", Content_Length="", Transfer_Encoding="chunked"),
    ],
)
def test_bytes_are_not_put_into_a_directory(made: bytes) -> None:
    assert sent_on(made)[1] is not None


@pytest.mark.parametrize(
    "made",
    [request("PUT", "/b/dir/"), request("GET", "/b/dir/"), request("DELETE", "/b/dir/"), request("HEAD", "/b/d/")],
)
def test_an_empty_object_that_stands_for_a_directory_may_pass(made: bytes) -> None:
    assert sent_on(made) == (made, None)


@pytest.mark.parametrize("source", ["b/a//c", "/b/a%2F%2Fc", "b/a%5Cc?versionId=1", "/b//c"])
def test_what_is_copied_from_is_looked_at(source: str) -> None:
    assert sent_on(request("PUT", "/b/to", x_amz_copy_source=source))[1] is not None
    fine = request("PUT", "/b/to", x_amz_copy_source="/b/from%2Fthere")
    assert sent_on(fine) == (fine, None)


@pytest.mark.parametrize("key", ["a//b", "/a", "a\\b", "x/../y", "&#97;//b"])
def test_a_list_to_delete_is_looked_at_as_a_whole(key: str) -> None:
    text = '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>fine</Key></Object>'
    fine, folded = f"{text}</Delete>".encode(), f"{text}<Object><Key>{key}</Key></Object></Delete>".encode()
    whole = request("POST", "/b?delete", fine)
    assert sent_on(*[whole[at : at + 7] for at in range(0, len(whole), 7)]) == (whole, None)
    passed, refusal = sent_on(request("POST", "/b?delete", folded))
    assert refusal is not None
    assert b"<Key>" not in passed


@pytest.mark.parametrize(
    "made",
    [
        request("POST", "/b", b"x", Content_Type="multipart/form-data; boundary=x"),
        request("POST", "/b?delete", Content_Length="99999999"),
        request("POST", "/b?delete", Content_Length="", Transfer_Encoding="chunked"),
        request("PUT", "//b/a", b"x"),
        request("PUT", "http://127.0.0.1:1/b/a//c", b"x"),
        request("PUT", "/b/a", Transfer_Encoding="chunked"),
        request("PUT", "/b/a", Content_Length="-1"),
        request("PUT", "/b/a", Content_Length="1x"),
        request("PUT", "/b/a", Content_Length="", Transfer_Encoding="gzip"),
        b"PUT /b/a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"PUT\r\n\r\n",
        b"GET /b/a HTTP/1.1\r\nX: " + b"x" * MOST_HEAD,
        request("PUT", "/b/a", Content_Length="", Transfer_Encoding="chunked") + b"many\r\n",
    ],
)
def test_what_cannot_be_looked_at_is_refused(made: bytes) -> None:
    assert sent_on(made)[1] is not None


CHUNKED = request("PUT", "/b/a", Content_Length="", Transfer_Encoding="chunked")


@given(cuts=st.lists(st.integers(0, 600), max_size=12))
def test_however_the_bytes_come_all_of_them_pass_and_the_next_request_is_seen(cuts: list[int]) -> None:
    whole = (
        request("GET", "/")
        + request("PUT", "/b/k", b"GET /b/x//y HTTP/1.1\r\n\r\n")
        + CHUNKED
        + b"5;x=y\r\nhello\r\nA\r\n0\r\n\r\n\r\n\r\n0\r\n0\r\nTrailer: x\r\n\r\n"
        + request("POST", "/b?delete", b"<Delete/>")
        + request("PUT", "/b/dir/", Expect="100-continue")
    )
    places = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    pieces = [whole[a:b] for a, b in pairwise(places)]
    assert sent_on(*pieces) == (whole, None)
    passed, refusal = sent_on(*pieces, request("GET", "/b/a//b"))
    assert passed == whole
    assert refusal is not None


def test_a_refusal_is_an_answer_of_an_s3s() -> None:
    _, refusal = sent_on(request("PUT", "/b/%3C//%0A", b"x"))
    assert refusal is not None
    head, _, body = refusal.encode().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"'&lt;//\\n'" in body
