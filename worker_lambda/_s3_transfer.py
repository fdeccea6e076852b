"""Transfers between S3 and files, over the requests of one :class:`worker_lambda._s3_exchange.Exchange`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker_lambda._s3 import S3Cancelled, S3Error
from worker_lambda._s3_answers import Check, Passing
from worker_lambda._s3_exchange import NOTHING, Exchange
from worker_lambda._s3_files import BLOCK, Landing, landing_at, shown, source_of
from worker_lambda._s3_put import Upload
from worker_lambda._s3_ranged import Ranged, Unranged, comparable

_MOST_BESIDE = 8
"""Connections that all transfers together have beside one each, so that many at once stay within a small function."""


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
            upload = Upload(self._s3, bucket, key, source, cancelled)
            if source.size > 2 * self._part_size:
                upload.store_in_parts(what, self._part_size)
            else:
                self._s3.persist(what, cancelled, lambda: upload.store(0, source.size))

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
