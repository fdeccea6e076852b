"""S3's answers are read here: errors, which of them are worth another try, and checksums of bodies. No IO."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import zlib
from collections.abc import Callable

from mu_twisted.base import one_line
from worker_lambda.s3._crc import joined

_RETRYABLE_STATUS = frozenset((408, 429, 500, 502, 503, 504, 509, *range(520, 531)))
"""Also those of proxies in front of other S3s: 509 where bandwidth is used up, 520 to 530 of Cloudflare's."""
_RETRYABLE_CODES = frozenset(
    (
        "BadDigest",
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "LimitExceededException",
        "OperationAborted",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    )
)
"""Codes that another try may not meet (AWS: "Error responses", S3 API Reference; and what its SDKs try again in their
standard mode: "Retry behavior", AWS SDKs and Tools Reference Guide)."""
_SKEWED = frozenset(("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"))
_ERROR = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>)?\s*<Error[\s/>]")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_CHECKSUMS = ("crc32", "sha256", "sha1", "sha512", "md5")
"""Those of S3's that the standard library has; CRC-32C, CRC-64/NVME and XXHash would take C."""


class RetryableError(Exception):
    """A fault that another try may not meet."""


class S3Refusal(Exception):
    """The server's answer is an error. The text is one line.

    :param body: as much of it as came.
    :param whole: whether that is all of it: one that was cut before it said a code is not final.
    :ivar skewed: whether the request's time is what is wrong.
    :ivar date: the server's time, as its header says it.
    """

    def __init__(
        self, status: int, reason: str, header: Callable[[str], str | None], body: bytes, *, whole: bool = True
    ) -> None:
        self.status = status
        self.code = element(body, "Code")
        self.region = header("x-amz-bucket-region") or element(body, "Region")
        self.location = header("location") or ""
        self.date = header("date") or ""
        self.skewed = self.code in _SKEWED
        message = element(body, "Message") or ("" if self.code else reason)
        unsaid = not self.code and (not whole or status < 300)
        self.retryable = status in _RETRYABLE_STATUS or self.code in _RETRYABLE_CODES or unsaid
        super().__init__(one_line(f"{status} {self.code}: {message}".replace(" :", ":").rstrip(": "), 300))


class Check:
    """The checksum that an answer carries, where it is one that can be computed here and covers the whole object.

    :ivar sums: whether it is a CRC-32, so that those of stretches are enough, see :meth:`join`.
    """

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.sums = False
        self._crc = 0
        self._hash = None
        self._expected = None
        if response.getheader("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT" or response.status != 200:
            return
        for name in _CHECKSUMS:
            value = response.getheader(f"x-amz-checksum-{name}")
            if value is not None and "-" not in value:  # DIGEST-N is a sum over N parts' sums
                self._expected = value
                self.sums = name == "crc32"
                self._hash = None if self.sums else hashlib.new(name, usedforsecurity=False)
                return

    @property
    def reads(self) -> bool:
        """Whether it needs all bytes in order, by :meth:`update`."""
        return self._hash is not None

    def update(self, block: bytes) -> None:
        """Bytes that follow."""
        if self._hash is not None:
            self._hash.update(block)
        elif self.sums:
            self._crc = zlib.crc32(block, self._crc)

    def join(self, crc: int, size: int) -> None:
        """A stretch that follows, by its CRC-32."""
        self._crc = joined(self._crc, crc, size)

    def finish(self) -> None:
        """:raises RetryableError: what came is not what was stored."""
        digest = self._crc.to_bytes(4) if self._hash is None else self._hash.digest()
        if self._expected is not None and base64.b64encode(digest).decode() != self._expected:
            raise RetryableError("the body's checksum is not the object's: it was damaged on its way")


def is_error(body: bytes) -> bool:
    """Whether a body is S3's ``<Error>``, whatever the status in front of it says: of a completion and of a copy the
    status goes out before the outcome is known ("CompleteMultipartUpload", S3 API Reference).
    """
    return _ERROR.match(body) is not None


def is_complete(body: bytes, name: str) -> bool:
    """Whether a body holds the element of that name to its end."""
    return re.search(rb"</(?:[\w.-]{1,64}:)?%b\s*>|<%b(?:\s[^<>]{0,500})?/>" % ((name.encode(),) * 2), body) is not None


def verify(header: Callable[[str], str | None], bucket: str, md5: str, crc: str) -> None:
    """Hold an answer to a PutObject or an UploadPart against what was sent.

    The ETag is the MD5 of what was stored, except where that was encrypted with SSE-KMS, DSSE-KMS or SSE-C, and in
    directory buckets ("Object", S3 API Reference). Other servers may have other ETags; the checksum that they answer is
    good enough then: they have held it against the bytes, as AWS does.

    :param md5: of what was sent, in hexadecimal digits.
    :param crc: the value of its ``x-amz-checksum-crc32``.
    :raises RetryableError: something else was stored, or the answer does not say what.
    """
    etag, answered = header("etag") or "", header("x-amz-checksum-crc32")
    if not etag.strip('"'):
        raise RetryableError("the server does not say what it has stored: its answer has no ETag")
    if answered is not None and answered != crc:
        raise RetryableError(
            f"the server has stored something else: its CRC-32 is {one_line(answered, 40)}, and {crc} was sent"
        )
    found = _MD5.fullmatch(etag)
    encrypted = header("x-amz-server-side-encryption") not in (None, "", "AES256")
    encrypted |= header("x-amz-server-side-encryption-customer-algorithm") is not None
    if found is None or encrypted or bucket.endswith("--x-s3"):
        return
    if found[1] != md5 and answered is None:
        raise RetryableError(
            f"the server has stored something else: its ETag is {found[1]}, and the MD5 of what was sent {md5}"
        )


def element(body: bytes, name: str) -> str:
    """The text of the first element of that name, or an empty one. Enough for S3's answers, which are flat."""
    found = re.search(rb"<%b>([^<]{0,1024})" % name.encode(), body)
    text = found[1].decode("utf-8", "replace").strip() if found else ""
    if "&" in text:
        from html import unescape  # its table costs; XML's references are among HTML's

        text = unescape(text)
    return text


def escape(text: str) -> str:
    """Text as it stands in XML."""
    for letter, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&apos;")):
        text = text.replace(letter, entity)
    return text
