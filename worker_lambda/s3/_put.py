"""A file is stored as an object in one request, or in parts that are completed at the end, or dropped."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from mu_twisted.base import one_line
from worker_lambda.s3._answers import RetryableError, S3Refusal, element, escape, is_complete, verify
from worker_lambda.s3._crc import joined
from worker_lambda.s3._errors import S3Error
from worker_lambda.s3._exchange import NOTHING, Body, Exchange, text_of
from worker_lambda.s3._files import FileSource
from worker_lambda.s3._http_sockets import TransferCancelled
from worker_lambda.s3._sigv4 import UNSIGNED

_MOST_PARTS = 10_000
"""Parts of one upload at most ("Amazon S3 multipart upload limits"); one of them may have 5 GiB."""
_DROP_TIME = 5.0
"""Seconds for dropping the parts: what was cancelled should end soon."""
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')

_Query = tuple[tuple[str, str], ...]


class Stored(NamedTuple):
    """A stretch of the file that S3 has.

    :param crc: its CRC-32.
    """

    etag: str
    crc: int
    size: int


class Upload:
    """One file to one object.

    :param source: read anew for each try.
    """

    def __init__(
        self, s3: Exchange, bucket: str, key: bytes, source: FileSource, cancelled: Callable[[], bool]
    ) -> None:
        self._s3 = s3
        self._object = bucket, key
        self._source = source
        self._cancelled = cancelled
        self._parts: list[Stored] = []

    def store(self, offset: int, size: int, query: _Query = ()) -> Stored:
        """Send a stretch of the file, once.

        :raises RetryableError: the server has stored something else.
        :raises S3Error: it keeps nothing of it.
        """
        plain = not self._s3.secure(*self._object)
        digest, md5, crc = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        for block in self._source.blocks(offset, size):
            if self._cancelled():
                raise TransferCancelled
            crc = zlib.crc32(block, crc)
            md5.update(block)
            if plain:
                digest.update(block)
        blocks = partial(self._source.blocks, offset, size)
        body = Body(size, digest.hexdigest() if plain else UNSIGNED, blocks)
        headers = {"x-amz-checksum-crc32": _encoded(crc)}
        with self._s3.open("PUT", *self._object, headers, body, self._cancelled, query) as (connection, response):
            text_of(connection, response, self._cancelled)
            verify(response.getheader, self._object[0], md5.hexdigest(), _encoded(crc))
            stored = Stored(response.getheader("etag", ""), crc, size)
            summed = response.getheader("x-amz-checksum-crc32") is not None
        if not query and not summed:
            self._expect_kept()
        return stored

    def store_in_parts(self, what: str, part_size: int) -> None:
        """Send all of it; the parts are dropped where that fails.

        One part after the other, each with tries of its own: one connection fills what a function has of network.

        :param what: how an error's text begins.
        :raises S3Error: as its text says.
        """
        persist = partial(self._s3.persist, what, self._cancelled)
        whole = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"}
        upload = ("uploadId", persist(partial(self._begin, whole)))
        try:
            size = self._source.size
            part_size = max(part_size, -(-size // _MOST_PARTS))
            for number, offset in enumerate(range(0, size, part_size), 1):
                query = (("partNumber", str(number)), upload)
                self._parts.append(persist(partial(self.store, offset, min(part_size, size - offset), query)))
            completion = _Completion(self._parts)
            persist(lambda: self._complete(upload, completion))
        except BaseException:
            # The parts cost money until they are dropped; that the upload failed is the news, not that this did.
            until = time.monotonic() + _DROP_TIME

            def late() -> bool:
                return time.monotonic() > until

            with contextlib.suppress(S3Error):
                self._s3.persist(what, late, partial(self._ask, "DELETE", (upload,), {}, b"", late))
            raise

    # -- inside ----------------------------------------------------------------------------------------------------

    def _expect_kept(self) -> None:
        """Check the size of an object for which no checksum was returned. Some servers take a key that ends in ``/``
        for a directory and keep nothing of what is stored there, though the ETag that they answer is right.
        """
        size = self._source.size
        if not size or not self._object[1].endswith(b"/"):
            return
        with self._s3.open("HEAD", *self._object, {}, NOTHING, self._cancelled) as (_, response):
            kept = response.getheader("content-length", "0")
        if kept != str(size):
            raise S3Error(
                f"the server keeps {one_line(kept, 20)} of {size} bytes: it takes a key that ends in / for a "
                "directory; choose another key"
            )

    def _begin(self, headers: dict[str, str]) -> str:
        """The new upload's id."""
        answer = self._ask("POST", (("uploads", ""),), headers, b"", self._cancelled)
        if not is_complete(answer, "UploadId") or not (found := element(answer, "UploadId")):
            raise RetryableError("the server began an upload in parts without an UploadId")
        return found

    def _complete(self, upload: tuple[str, str], completion: _Completion) -> None:
        try:
            answer = self._ask("POST", (upload,), completion.headers, completion.text, self._cancelled)
            if not is_complete(answer, "CompleteMultipartUploadResult"):
                raise RetryableError("the server does not say that it has put the parts together")
            if not element(answer, "ChecksumCRC32"):
                self._expect_kept()
        except S3Refusal as refusal:
            # The same may have been asked for before and been done, and only its answer been lost.
            if refusal.code != "NoSuchUpload" or not self._is_there(completion):
                raise

    def _is_there(self, completion: _Completion) -> bool:
        headers = {"x-amz-checksum-mode": "ENABLED"}
        try:
            with self._s3.open("HEAD", *self._object, headers, NOTHING, self._cancelled) as (_, response):
                return completion.is_of(response.getheader)
        except S3Refusal as refusal:
            if refusal.retryable:
                raise
            return False

    def _ask(
        self, method: str, query: _Query, headers: dict[str, str], text: bytes, cancelled: Callable[[], bool]
    ) -> bytes:
        body = Body(len(text), hashlib.sha256(text).hexdigest(), lambda: (text,))
        with self._s3.open(method, *self._object, headers, body, cancelled, query) as (connection, response):
            return text_of(connection, response, cancelled)


class _Completion:
    """What puts the parts together, and how to know what came of it."""

    def __init__(self, parts: list[Stored]) -> None:
        crc, rows = 0, ""
        for number, part in enumerate(parts, 1):
            crc = joined(crc, part.crc, part.size)
            rows += (
                f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
                f"<ChecksumCRC32>{_encoded(part.crc)}</ChecksumCRC32></Part>"
            )
        self._crc = _encoded(crc)
        self.headers = {"x-amz-checksum-crc32": self._crc, "x-amz-checksum-type": "FULL_OBJECT"}
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        self.text = f'<CompleteMultipartUpload xmlns="{space}">{rows}</CompleteMultipartUpload>'.encode()
        sums = [_MD5.fullmatch(part.etag) for part in parts]
        together = b"".join(bytes.fromhex(found[1]) for found in sums if found)
        digest = hashlib.md5(together, usedforsecurity=False).hexdigest()
        self._etag = f'"{digest}-{len(parts)}"' if all(sums) else None

    def is_of(self, header: Callable[[str], str | None]) -> bool:
        """Whether an object with this head is what was to be made."""
        if self._etag is not None and header("etag") == self._etag:
            return True
        return header("x-amz-checksum-crc32") == self._crc and header("x-amz-checksum-type") == "FULL_OBJECT"


def _encoded(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4)).decode()
