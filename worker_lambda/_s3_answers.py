"""What S3's answers say: errors, which of them may pass, and checksums of bodies. No IO."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import zlib
from collections.abc import Callable

from worker_lambda._s3_crc import joined
from worker_lambda._s3_files import one_line

_PASSING_STATUS = frozenset((429, 500, 502, 503, 504))
_PASSING_CODES = frozenset(
    (
        "BadDigest",
        "IncompleteBody",
        "InternalError",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    )
)
"""Answers that another try may turn (AWS: "Error responses", S3 API Reference)."""
_ENTITIES = (("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&apos;"), ("&", "&amp;"))
_CHECKSUMS = ("crc32", "sha256", "sha1", "sha512", "md5")
"""Those of S3's that the standard library has; CRC-32C, CRC-64/NVME and XXHash would take C."""


class Passing(Exception):
    """A fault that another try may not meet."""


class Refused(Exception):
    """The server's answer is an error. The text is one line."""

    def __init__(self, status: int, reason: str, header: Callable[[str], str | None], body: bytes) -> None:
        self.status = status
        self.code = element(body, "Code")
        self.region = header("x-amz-bucket-region") or element(body, "Region")
        self.location = header("location") or ""
        message = element(body, "Message") or ("" if self.code else reason)
        self.passing = status in _PASSING_STATUS or self.code in _PASSING_CODES
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
        """:raises Passing: what came is not what was stored."""
        digest = self._crc.to_bytes(4) if self._hash is None else self._hash.digest()
        if self._expected is not None and base64.b64encode(digest).decode() != self._expected:
            raise Passing("the body's checksum is not the object's: it was damaged on its way")


def element(body: bytes, name: str) -> str:
    """The text of the first element of that name, or an empty one. Enough for S3's answers, which are flat."""
    found = re.search(rb"<%b>([^<]{0,1024})" % name.encode(), body)
    text = found[1].decode("utf-8", "replace").strip() if found else ""
    for letter, entity in _ENTITIES:
        text = text.replace(entity, letter)
    return text


def escape(text: str) -> str:
    """Text as it stands in XML."""
    for letter, entity in reversed(_ENTITIES):
        text = text.replace(letter, entity)
    return text
