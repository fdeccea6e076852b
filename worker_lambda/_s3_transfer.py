"""Transfers between S3 and files: an object to a file, a file to an object in one request or in parts."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
import zlib
from collections.abc import Callable
from functools import partial

from worker_lambda._http_sockets import Cancelled
from worker_lambda._s3 import S3Cancelled, S3Error
from worker_lambda._s3_answers import Check, Passing, Refused, element, escape
from worker_lambda._s3_exchange import NOTHING, Body, Exchange, text_of
from worker_lambda._s3_files import BLOCK, Landing, Source, landing_at, shown, source_of
from worker_lambda._s3_ranged import Ranged, Unranged, comparable
from worker_lambda._sigv4 import UNSIGNED

_MOST_BESIDE = 8
"""Connections that all transfers together have beside one each, so that many at once stay within a small function."""
_MAX_PARTS = 10_000
"""Parts of one upload at most ("Amazon S3 multipart upload limits"); one of them may have 5 GiB."""


_Query = tuple[tuple[str, str], ...]


class Transfers:
    """The working half of :class:`worker_lambda._s3.S3`, with the same parameters."""

    def __init__(
        self,
        region: str,
        endpoint: str | None,
        tries: int,
        back_off: float,
        timeout: float,
        part_size: int,
        range_size: int,
        connections: int,
    ) -> None:
        self._s3 = Exchange(region, endpoint, tries, back_off, timeout)
        self._part_size = part_size
        self._range_size = range_size
        self._beside = connections - 1
        self._free = threading.Semaphore(_MOST_BESIDE)

    def close(self) -> None:
        """Close the kept connections."""
        self._s3.close()

    def get(self, bucket: str, key: bytes, path: str, cancelled: Callable[[], bool]) -> None:
        """See :meth:`worker_lambda._s3.S3.get`."""
        what = f"cannot get {shown(bucket, key)}"
        with landing_at(what, path) as landing:
            try:
                self._s3.persist(what, cancelled, lambda: self._fetch(bucket, key, landing, self._beside, cancelled))
            except Unranged:
                self._s3.persist(what, cancelled, lambda: self._fetch(bucket, key, landing, 0, cancelled))
            if cancelled():
                raise S3Cancelled(f"{what}: cancelled")
            landing.commit()

    def put(self, bucket: str, key: bytes, path: str, cancelled: Callable[[], bool]) -> None:
        """See :meth:`worker_lambda._s3.S3.put`."""
        what = f"cannot put {shown(bucket, key)}"
        with source_of(what, path) as source:
            size = source.size
            if size > 2 * self._part_size:
                self._put_in_parts(what, bucket, key, source, size, cancelled)
            else:
                self._s3.persist(what, cancelled, lambda: self._store(bucket, key, source, 0, size, cancelled))

    def _fetch(self, bucket: str, key: bytes, landing: Landing, beside: int, cancelled: Callable[[], bool]) -> None:
        with self._s3.open("GET", bucket, key, {"x-amz-checksum-mode": "ENABLED"}, NOTHING, cancelled) as answer:
            connection, response = answer
            expected = response.length
            if expected is None and not response.chunked:
                raise S3Error("the server does not say how long the object is (no Content-Length)")
            landing.restart()
            check = Check(response)
            etag = response.getheader("etag", "")
            if expected is not None and expected > 2 * self._range_size:
                landing.reserve(expected)
                if beside and comparable(etag):
                    size = self._range_size
                    ranged = Ranged(self._s3, bucket, key, landing, expected, etag, size, cancelled)
                    ranged.fetch(connection, response, beside, self._free)
                    ranged.add_to(check)
                    check.finish()
                    return
            received = 0
            for block in connection.blocks(response, BLOCK, cancelled):
                landing.write(block, received)
                check.update(block)
                received += len(block)
            if expected is not None and received != expected:
                raise Passing(f"the body ended after {received} of {expected} bytes")
            check.finish()

    def _store(
        self,
        bucket: str,
        key: bytes,
        source: Source,
        offset: int,
        size: int,
        cancelled: Callable[[], bool],
        query: _Query = (),
    ) -> tuple[str, str]:
        """Send a stretch of a file; returns the ETag and the CRC-32 in base64."""
        plain = not self._s3.secure(bucket, key)
        digest, sum_ = hashlib.sha256(), 0
        for block in source.blocks(offset, size):
            if cancelled():
                raise Cancelled
            sum_ = zlib.crc32(block, sum_)
            if plain:
                digest.update(block)
        checksum = base64.b64encode(sum_.to_bytes(4)).decode()
        body = Body(size, digest.hexdigest() if plain else UNSIGNED, lambda: source.blocks(offset, size))
        headers = {"x-amz-checksum-crc32": checksum}
        with self._s3.open("PUT", bucket, key, headers, body, cancelled, query) as (connection, response):
            text_of(connection, response, cancelled)
            return response.getheader("etag", ""), checksum

    def _put_in_parts(
        self, what: str, bucket: str, key: bytes, source: Source, size: int, cancelled: Callable[[], bool]
    ) -> None:
        """One part after the other, each with tries of its own: one connection fills what a function has of network."""
        ask = partial(self._ask, bucket, key, cancelled)
        algorithm = {"x-amz-checksum-algorithm": "CRC32"}
        created = self._s3.persist(what, cancelled, partial(ask, "POST", (("uploads", ""),), algorithm, b""))
        upload = ("uploadId", element(created, "UploadId"))
        if not upload[1]:
            raise S3Error(f"{what}: the server began an upload in parts without an UploadId")
        try:
            parts = ""
            part_size = max(self._part_size, -(-size // _MAX_PARTS))
            for number, offset in enumerate(range(0, size, part_size), 1):
                query = (("partNumber", str(number)), upload)
                length = min(part_size, size - offset)
                store = partial(self._store, bucket, key, source, offset, length, cancelled, query)
                etag, checksum = self._s3.persist(what, cancelled, store)
                parts += (
                    f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag>"
                    f"<ChecksumCRC32>{checksum}</ChecksumCRC32></Part>"
                )
            space = "http://s3.amazonaws.com/doc/2006-03-01/"
            text = f'<CompleteMultipartUpload xmlns="{space}">{parts}</CompleteMultipartUpload>'
            self._s3.persist(what, cancelled, partial(ask, "POST", (upload,), {}, text.encode()))
        except BaseException:
            # The parts cost money until they are dropped; that the upload failed is the news, not that this did.
            def never() -> bool:
                return False

            with contextlib.suppress(S3Error):
                self._s3.persist(what, never, partial(self._ask, bucket, key, never, "DELETE", (upload,), {}, b""))
            raise

    def _ask(
        self,
        bucket: str,
        key: bytes,
        cancelled: Callable[[], bool],
        method: str,
        query: _Query,
        headers: dict[str, str],
        text: bytes,
    ) -> bytes:
        body = Body(len(text), hashlib.sha256(text).hexdigest(), lambda: (text,))
        with self._s3.open(method, bucket, key, headers, body, cancelled, query) as (connection, response):
            answer = text_of(connection, response, cancelled)
            if b"<Error>" in answer:  # of a completion: its status went out before its outcome was known
                raise Refused(response.status, response.reason, response.getheader, answer)
            return answer
