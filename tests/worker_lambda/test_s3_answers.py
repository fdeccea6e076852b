"""Successes that are none, failures that pass: what is stored and fetched is what was meant."""

from __future__ import annotations

import base64
import calendar
import hashlib
import os
import time
import zlib
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s3_server import Handler, etag_of, failure, never

from worker_lambda.s3 import S3
from worker_lambda.s3._address import is_region, resolve
from worker_lambda.s3._answers import RetryableError, S3Refusal, element, escape, is_complete, is_error, verify
from worker_lambda.s3._http_sockets import HttpOrigin

DONE = b"<CompleteMultipartUploadResult><ETag>&#34;x&#34;</ETag></CompleteMultipartUploadResult>"
ERROR = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


@pytest.fixture
def parted(server):
    client = S3("us-east-1", server.url, back_off=0.001, timeout=180.0, part_size=100_000)
    yield client
    client.close()


def crc_of(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()


def unmeasured(body: bytes):
    """An answer whose end is that of the connection."""

    def answer(h: Handler) -> None:
        h.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        h.close_connection = True

    return answer


def chunked(body: bytes, end: bytes = b""):
    """An answer in one chunk, by default without the last one."""

    def answer(h: Handler) -> None:
        h.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n%b" % (len(body), body, end))
        h.close_connection = True

    return answer


NO_COMPLETION = {
    "cut at once": lambda h: h.answer(200, b"", {}, length=300),
    "cut": lambda h: h.answer(200, DONE[:40], {}, length=len(DONE)),
    "cut in its last tag": lambda h: h.answer(200, DONE[:-3], {}, length=len(DONE)),
    "cut in its error": lambda h: h.answer(200, ERROR[:9], {}, length=len(ERROR)),
    "ended by close": unmeasured(DONE[:60]),
    "ended by close at once": unmeasured(b""),
    "a chunk missing": chunked(DONE[:60]),
    "empty": lambda h: h.answer(200, b"", {}),
    "a page": lambda h: h.answer(200, b"<html><body>Sign in</body></html>", {}),
    "another result": lambda h: h.answer(200, b"<CopyObjectResult></CopyObjectResult>", {}),
    "an error": lambda h: h.answer(200, ERROR, {}),
    "an error behind blanks": lambda h: h.answer(200, b'<?xml version="1.0"?>\n \n' + ERROR, {}),
    "an error without a code": lambda h: h.answer(200, b"<Error/>", {}),
    "accepted": lambda h: h.answer(202, DONE, {}),
}


@pytest.mark.parametrize("answer", NO_COMPLETION)
def test_a_completion_whose_answer_says_nothing_of_it_is_asked_for_again(server, parted, tmp_path, answer):
    data = os.urandom(250_001)
    (tmp_path / "in").write_bytes(data)
    server.script = [None] * 4 + [NO_COMPLETION[answer]] * 2
    parted.put("b", b"k", str(tmp_path / "in"), never)
    assert server.objects == {b"/b/k": data}
    assert [method for _, method, *_ in server.requests[4:]] == ["POST"] * 3


@pytest.mark.parametrize("answer", NO_COMPLETION)
def test_a_completion_that_is_never_answered_is_a_failure_and_its_parts_are_dropped(server, parted, tmp_path, answer):
    (tmp_path / "in").write_bytes(os.urandom(250_001))
    server.script = [None] * 4 + [NO_COMPLETION[answer]] * 5
    assert "(tried 5 times)" in failure(parted.put, "b", b"k", str(tmp_path / "in"), never)
    assert not server.objects
    assert not server.uploads


@pytest.mark.parametrize("body", [DONE, b"<s3:CompleteMultipartUploadResult/>", b"\n \n" + DONE])
def test_a_completion_is_one_however_its_answer_comes(server, parted, tmp_path, body):
    (tmp_path / "in").write_bytes(os.urandom(250_001))
    for answer in (lambda h: h.answer(200, body, {}), unmeasured(body), chunked(body, b"0\r\n\r\n")):
        server.script = [None] * 4 + [answer]
        parted.put("b", b"k", str(tmp_path / "in"), never)


@pytest.mark.parametrize(
    "answer",
    [
        lambda h: h.answer(200, b"<R><UploadId>a&amp;", {}, length=90),
        unmeasured(b"<R><UploadId>a&amp;"),
        unmeasured(b"<R>"),
        lambda h: h.answer(200, b"", {}),
        lambda h: h.answer(200, ERROR, {}),
    ],
)
def test_an_upload_is_begun_with_a_whole_id_only(server, parted, tmp_path, answer):
    data = os.urandom(250_001)
    (tmp_path / "in").write_bytes(data)
    server.script = [answer] * 2
    parted.put("b", b"k", str(tmp_path / "in"), never)
    assert server.objects == {b"/b/k": data}


NOT_STORED = {
    "an error": lambda h: h.answer(200, ERROR, {"etag": '"x"'}),
    "an error in XML": lambda h: h.answer(200, b'\xef\xbb\xbf<?xml version="1.0"?>' + ERROR, {"etag": '"x"'}),
    "throttled": lambda h: h.refuse(200, "SlowDown", "Please reduce your request rate."),
    "a page": lambda h: h.answer(200, b"<html>Sign in</html>", {}),
    "without an ETag": lambda h: h.answer(200, b"", {}),
    "an empty ETag": lambda h: h.answer(200, b"", {"etag": '""'}),
    "cut": lambda h: h.answer(200, b"", {"etag": '"x"'}, length=10),
    "something else": lambda h: h.answer(200, b"", {"etag": etag_of(b"else")}),
    "nothing": lambda h: h.answer(200, b"", {"etag": etag_of(b"")}),
    "another sum": lambda h: h.answer(200, b"", {"etag": '"x"', "x-amz-checksum-crc32": "AAAAAA=="}),
    "created": lambda h: h.answer(201, b"", {"etag": '"x"'}),
    "no content": lambda h: h.answer(204, b"", {"etag": '"x"'}),
}


@pytest.mark.parametrize("answer", NOT_STORED)
@pytest.mark.parametrize("size", [5000, 250_001])
def test_what_was_not_stored_is_sent_again(server, parted, tmp_path, answer, size):
    data = os.urandom(size)
    (tmp_path / "in").write_bytes(data)
    server.script = ([None] if size > 200_000 else []) + [NOT_STORED[answer]] * 4
    parted.put("b", b"k", str(tmp_path / "in"), never)
    assert server.objects == {b"/b/k": data}


@pytest.mark.parametrize("answer", NOT_STORED)
def test_what_is_never_stored_is_a_failure(server, s3, tmp_path, answer):
    (tmp_path / "in").write_bytes(b"whole")
    server.choose = lambda h: NOT_STORED[answer]
    text = failure(s3.put, "b", b"k", str(tmp_path / "in"), never)
    assert text.startswith("cannot put b/k: ")
    assert "(tried 5 times)" in text


def test_something_else_that_was_stored_is_named_by_its_sum_and_ours(server, s3, tmp_path):
    (tmp_path / "in").write_bytes(b"whole")
    server.choose = lambda h: NOT_STORED["something else"]
    assert failure(s3.put, "b", b"k", str(tmp_path / "in"), never) == (
        f"cannot put b/k: the server has stored something else: its ETag is {hashlib.md5(b'else').hexdigest()}, and "
        f"the MD5 of what was sent {hashlib.md5(b'whole').hexdigest()} (tried 5 times)"
    )


OTHER = f'"{"0" * 32}"'


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": OTHER, "x-amz-server-side-encryption": "aws:kms"},
        {"etag": OTHER, "x-amz-server-side-encryption": "aws:kms:dsse"},
        {"etag": OTHER, "x-amz-server-side-encryption": "aws:fsx"},
        {"etag": OTHER, "x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {"etag": OTHER, "x-amz-checksum-crc32": crc_of(b"whole")},
        {"etag": f'"{"0" * 32}-1"'},
        {"etag": '"0xRANDOM"'},
        {"etag": f"W/{OTHER}"},
        {"etag": etag_of(b"whole"), "x-amz-server-side-encryption": "AES256"},
        {"etag": etag_of(b"whole").strip('"')},
    ],
)
def test_an_etag_that_is_no_md5_of_what_was_stored_says_nothing_against_it(server, s3, tmp_path, headers):
    (tmp_path / "in").write_bytes(b"whole")
    server.script = [lambda h: h.answer(200, b"", headers)]
    s3.put("b", b"k", str(tmp_path / "in"), never)
    assert len(server.requests) == 1


def test_of_a_directory_bucket_the_etag_is_no_md5():
    verify({"etag": OTHER}.get, "bucket--usw2-az1--x-s3", "1" * 32, "AAAAAA==")
    with pytest.raises(RetryableError):
        verify({"etag": OTHER}.get, "bucket", "1" * 32, "AAAAAA==")


@pytest.mark.parametrize(("kept", "size", "checked"), [("0", 5, True), ("5", 5, True), ("0", 0, False)])
def test_what_is_stored_under_a_key_like_a_directorys_is_looked_after(server, s3, tmp_path, kept, size, checked):
    (tmp_path / "in").write_bytes(b"w" * size)
    head = [lambda h: (h.send_response(200), h.send_header("content-length", kept), h.end_headers())]
    server.script = [None, *head]
    if kept == str(size):
        s3.put("b", b"t/", str(tmp_path / "in"), never)
    else:
        text = failure(s3.put, "b", b"t/", str(tmp_path / "in"), never)
        assert "cannot put b/t/: the server keeps 0 of 5 bytes: it takes a key that ends in /" in text
    assert [method for _, method, *_ in server.requests] == (["PUT", "HEAD"] if checked else ["PUT"])


def test_where_the_server_has_summed_it_up_it_need_not_be_looked_after(server, s3, tmp_path):
    (tmp_path / "in").write_bytes(b"whole")
    server.script = [lambda h: h.answer(200, b"", {"etag": '"x"', "x-amz-checksum-crc32": crc_of(b"whole")})]
    s3.put("b", b"t/", str(tmp_path / "in"), never)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda h: h.answer(206, b"who", {"etag": '"e"', "content-range": "bytes 0-2/5"}),
        lambda h: h.answer(206, b"who", {}),
        lambda h: h.answer(204, b"", {}),
        lambda h: h.answer(203, b"other", {}),
    ],
)
def test_a_part_that_was_not_asked_for_is_not_the_object(server, s3, tmp_path, answer):
    server.objects[b"/b/k"] = b"whole"
    server.script = [answer] * 4
    s3.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == b"whole"
    server.script = [answer] * 5
    assert "the server's answer is 20" in failure(s3.get, "b", b"k", str(tmp_path / "none"), never)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "answer",
    [
        lambda h: h.refuse(400, "RequestTimeoutException", "again"),
        lambda h: h.answer(408, b"", {}),
        lambda h: h.answer(408, b"<html>Request Time-out</html>", {}),
        lambda h: h.refuse(409, "OperationAborted", "A conflicting conditional operation is in progress."),
        lambda h: h.refuse(409, "ConditionalRequestConflict", "again"),
        lambda h: h.refuse(400, "ThrottlingException", "again"),
        lambda h: h.refuse(400, "ThrottledException", "again"),
        lambda h: h.refuse(400, "RequestThrottled", "again"),
        lambda h: h.refuse(400, "RequestLimitExceeded", "again"),
        lambda h: h.refuse(400, "PriorRequestNotComplete", "again"),
        lambda h: h.refuse(509, "BandwidthLimitExceeded", "again"),
        lambda h: h.answer(509, b"", {}),
        *[lambda h, status=status: h.answer(status, b"", {}) for status in (520, 522, 524, 525, 530)],
        lambda h: h.answer(403, b"<Error><Co", {}, length=200),
        lambda h: h.answer(400, b"", {}, length=200),
    ],
)
def test_refusals_that_pass_are_outlived_by_what_goes_up_and_what_comes_down(server, s3, tmp_path, answer):
    server.objects[b"/b/k"] = b"whole"
    server.script = [answer] * 4
    s3.get("b", b"k", str(tmp_path / "out"), never)
    server.script = [answer] * 4
    s3.put("b", b"back", str(tmp_path / "out"), never)
    assert server.objects[b"/b/back"] == b"whole"


@pytest.mark.parametrize(
    "answer",
    [
        lambda h: h.answer(403, b"<Error><Code>AccessDenied</Code><Mess", {}, length=200),
        lambda h: h.refuse(409, "BucketAlreadyExists", "no"),
        lambda h: h.answer(404, b"", {}),
    ],
)
def test_refusals_that_do_not_pass_are_final(server, s3, tmp_path, answer):
    server.script = [answer] * 9
    failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    assert len(server.requests) == 1


def skewed(seconds: float, code: str = "RequestTimeTooSkewed"):
    """A server whose clock is so far ahead of ours."""

    def choose(h: Handler):
        now = time.time() + seconds
        stamp = calendar.timegm(time.strptime(h.headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
        if abs(stamp - now) < 900:
            return None

        def refuse(h: Handler) -> None:
            h.date_time_string = lambda timestamp=None: formatdate(now, usegmt=True)  # type: ignore[method-assign]
            h.refuse(403, code, "The difference between the request time and the current time is too large.")

        return refuse

    return choose


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 80_000.0])
def test_a_clock_that_is_wrong_is_corrected_once_by_the_servers(server, s3, tmp_path, seconds):
    server.objects[b"/b/k"] = b"whole"
    server.choose = skewed(seconds)
    s3.get("b", b"k", str(tmp_path / "out"), never)
    s3.put("b", b"back", str(tmp_path / "out"), never)
    assert [method for _, method, *_ in server.requests] == ["GET", "GET", "PUT"]


def test_a_server_that_finds_the_time_wrong_again_and_again_is_believed(server, s3, tmp_path):
    server.script = [lambda h: h.refuse(403, "RequestTimeTooSkewed", "too large")] * 9
    assert "403 RequestTimeTooSkewed: too large" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    assert len(server.requests) == 2


def test_no_server_moves_the_clock_by_days(server, s3, tmp_path):
    server.choose = skewed(30 * 86_400.0)
    failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    stamps = {headers["x-amz-date"][:8] for *_, headers in server.requests}
    assert stamps <= {time.strftime("%Y%m%d", time.gmtime(time.time() - day)) for day in (0, 3600)}


@pytest.mark.parametrize("location", ["/b/k", "//127.0.0.1:{port}/b/k", "k", "/b/k?a=b#c"])
def test_a_redirect_may_be_relative(server, s3, tmp_path, location):
    server.objects[b"/b/k"] = b"whole"
    there = location.format(port=server.server_address[1])
    server.script = [lambda h: h.refuse(307, "TemporaryRedirect", "there", {"location": there})]
    s3.get("b", b"k", str(tmp_path / "out"), never)
    assert (tmp_path / "out").read_bytes() == b"whole"


@pytest.mark.parametrize("location", ["http://", "ftp://h/b", "http://[::1", "/b/k x", "/b/\xe9", "http://h:x/", ":"])
def test_a_redirect_that_leads_nowhere_is_told_as_the_refusal_that_it_is(server, s3, tmp_path, location):
    server.script = [lambda h: h.refuse(307, "TemporaryRedirect", "there", {"location": location})] * 9
    assert failure(s3.get, "b", b"k", str(tmp_path / "out"), never) == "cannot get b/k: 307 TemporaryRedirect: there"


def test_dots_in_a_redirect_are_kept_as_parts_of_keys():
    here = HttpOrigin("https", "h", 443)
    assert resolve("/b/a/../b//c", here, "/b/k") == (here, "/b/a/../b//c")
    assert resolve("https://x/b/./c?d", here, "/b/k") == (HttpOrigin("https", "x", 443), "/b/./c")


@pytest.mark.parametrize("region", ["x&#10;y", "eu&#13;&#10;X-Evil: 1", "\u6f22", "a/b", "-", "x" * 65, "&#0;"])
def test_a_servers_region_that_can_be_none_is_not_used_and_no_signature_gets_out(server, s3, tmp_path, region):
    body = f"<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>{region}</Region></Error>"
    server.script = [lambda h: h.answer(400, body.encode(), {})] * 9
    text = failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    assert text == "cannot get b/k: 400 AuthorizationHeaderMalformed: m"
    assert len(server.requests) == 1


@pytest.mark.parametrize("region", ["a\nb", "a b", "\xe9", "", "a/b"])
def test_a_region_of_ours_that_can_be_none_is_named_and_no_signature_gets_out(server, tmp_path, region):
    client = S3(region, server.url, back_off=0.001)
    text = failure(client.get, "b", b"k", str(tmp_path / "out"), never)
    assert "is not the name of a region" in text
    assert not server.requests


def test_whatever_cannot_be_sent_is_told_without_the_signature(server, tmp_path):
    client = S3("us-east-1", f"{server.url}/\xe9", back_off=0.001)
    text = failure(client.get, "b", b"k", str(tmp_path / "out"), never)
    assert text.endswith("cannot be put into HTTP")
    assert not server.requests


@pytest.mark.parametrize("name", ["auto", "default", "GRA", "fr-par", "us-east-1", "z_1.a"])
def test_regions_of_other_s3s_have_names_of_their_own(name):
    assert is_region(name, at_aws=False)
    assert is_region(name, at_aws=True) is (name in ("fr-par", "us-east-1"))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"&#34;k&#34; is gone", '"k" is gone'),
        (b"&#x27;k&#X27; &lt;b&gt; &amp;amp; &quot;", "'k' <b> &amp; \""),
        (b"a &amp;#34; b", "a &#34; b"),
        (b"no &entity here & there", "no &entity here & there"),
        (b"&#1114112; &#0;", "\ufffd \ufffd"),
    ],
)
def test_xmls_references_are_shown_as_what_they_stand_for(server, s3, tmp_path, sent, shown):
    server.script = [lambda h: h.answer(404, b"<Error><Code>NoSuchKey</Code><Message>%b</Message></Error>" % sent, {})]
    assert failure(s3.get, "b", b"k", str(tmp_path / "out"), never) == f"cannot get b/k: 404 NoSuchKey: {shown}"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200))
def test_what_is_escaped_comes_back(text):
    assert element(f"<A>{escape(text)}</A>".encode(), "A") == text.strip()


@given(st.binary(max_size=300) | st.from_regex(rb"\s*<(Error|Code|Region|A)[ >/]?[^<]*(</[A-Z]+>)?", fullmatch=True))
def test_any_body_is_taken(body):
    is_error(body)
    is_complete(body, "A")
    assert len(str(S3Refusal(400, "Bad Request", {}.get, body)).splitlines()) == 1


def test_a_completion_that_cannot_be_looked_up_now_is_looked_up_again(server, parted, tmp_path):
    data = os.urandom(250_001)
    (tmp_path / "in").write_bytes(data)
    server.head = {"x-amz-checksum-crc32": crc_of(data), "x-amz-checksum-type": "FULL_OBJECT"}
    gone = lambda h: h.refuse(404, "NoSuchUpload", "gone")  # noqa: E731
    server.script = [None] * 4 + [lambda h: h.answer(200, b"", {}), gone, lambda h: h.answer(503, b"", {}), gone]
    parted.put("b", b"k", str(tmp_path / "in"), never)
    assert [method for _, method, *_ in server.requests[4:]] == ["POST", "POST", "HEAD", "POST", "HEAD"]
