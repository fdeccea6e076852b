"""Transfers move objects to files and back, over the requests of one :class:`worker_lambda.s3._exchange.Exchange`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker_lambda.s3._answers import Check, RetryableError
from worker_lambda.s3._errors import S3Cancelled, S3Error
from worker_lambda.s3._exchange import NOTHING, Exchange
from worker_lambda.s3._files import BLOCK, AtomicFile, atomic_file, shown, source_of
from worker_lambda.s3._put import Upload
from worker_lambda.s3._ranged import Ranged, Unranged, comparable

_MOST_BESIDE = 8
"""Connections that all transfers together have beside one each, so that many at once stay within a small function."""


class ObjectTransfers:
    """The working half of :class:`worker_lambda.s3._client.S3`, with the same parameters."""

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
        """See :meth:`worker_lambda.s3._client.S3.get`."""
        what = f"cannot get {shown(bucket, key)}"
        with atomic_file(what, path) as target:
            try:
                self._s3.persist(what, cancelled, lambda: self._fetch(bucket, key, target, self._beside, cancelled))
            except Unranged:
                self._s3.persist(what, cancelled, lambda: self._fetch(bucket, key, target, 0, cancelled))
            if cancelled():
                raise S3Cancelled(f"{what}: cancelled")
            target.commit()

    def put(self, bucket: str, key: bytes, path: str, cancelled: Callable[[], bool]) -> None:
        """See :meth:`worker_lambda.s3._client.S3.put`."""
        what = f"cannot put {shown(bucket, key)}"
        with source_of(what, path) as source:
            upload = Upload(self._s3, bucket, key, source, cancelled)
            if source.size > 2 * self._part_size:
                upload.store_in_parts(what, self._part_size)
            else:
                self._s3.persist(what, cancelled, lambda: upload.store(0, source.size))

    def presign(self, bucket: str, key: bytes, path: str, seconds: int, cancelled: Callable[[], bool]) -> None:
        """See :meth:`worker_lambda.s3._client.S3.presign`."""
        what = f"cannot presign {shown(bucket, key)}"
        with atomic_file(what, path) as target:
            url = self._s3.persist(what, cancelled, lambda: self._s3.presign(bucket, key, seconds, cancelled))
            target.write(url.encode("ascii") + b"\n", 0)
            target.commit()

    def _fetch(self, bucket: str, key: bytes, target: AtomicFile, beside: int, cancelled: Callable[[], bool]) -> None:
        with self._s3.open("GET", bucket, key, {"x-amz-checksum-mode": "ENABLED"}, NOTHING, cancelled) as answer:
            connection, response = answer
            expected = response.length
            if expected is None and not response.chunked:
                raise S3Error("the server does not say how long the object is (no Content-Length)")
            target.restart()
            check = Check(response)
            etag = response.getheader("etag", "")
            if expected is not None and expected > 2 * self._range_size:
                target.reserve(expected)
                if beside and comparable(etag):
                    size = self._range_size
                    ranged = Ranged(self._s3, bucket, key, target, expected, etag, size, cancelled)
                    ranged.fetch(connection, response, beside, self._free)
                    ranged.add_to(check)
                    check.finish()
                    return
            received = 0
            for block in connection.blocks(response, BLOCK, cancelled):
                target.write(block, received)
                check.update(block)
                received += len(block)
            if expected is not None and received != expected:
                raise RetryableError(f"the body ended after {received} of {expected} bytes")
            check.finish()
