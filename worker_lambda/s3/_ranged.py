"""One large object is fetched over several connections: the answer that is there already, and ranges beside it.

The first answer holds the whole object and is read from its beginning; others fetch ranges of it from its end, until
they meet. So no request is only for the size, and each range is tried again by itself.
"""

from __future__ import annotations

import http.client
import re
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from worker_lambda.s3._answers import Check, RetryableError, S3Refusal
from worker_lambda.s3._errors import S3Cancelled
from worker_lambda.s3._exchange import NOTHING, Exchange
from worker_lambda.s3._files import BLOCK, AtomicFile
from worker_lambda.s3._http import HttpConnection
from worker_lambda.s3._http_sockets import TransferCancelled

_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,128}"')


class Unranged(Exception):
    """The server answers something else than the range that it was asked for."""


def comparable(etag: str) -> bool:
    """Whether an ETag says that two answers are of the same bytes (RFC 9110, section 8.8.3)."""
    return _STRONG.fullmatch(etag) is not None


class Ranged:
    """An object that is fetched in ranges.

    :param size: bytes that the object has.
    :param etag: a comparable one; with another one there, the object has been replaced.
    :param range_size: bytes of a range.
    :param cancelled: asked from several threads.
    """

    def __init__(
        self,
        s3: Exchange,
        bucket: str,
        key: bytes,
        target: AtomicFile,
        size: int,
        etag: str,
        range_size: int,
        cancelled: Callable[[], bool],
    ) -> None:
        self._s3 = s3
        self._object = bucket, key
        self._file = target
        self._size = size
        self._etag = etag
        self._range_size = range_size
        self._cancelled = cancelled
        self._left = deque(range(-(-size // range_size)))
        self._sums = [0] * len(self._left)
        self._lock = threading.Lock()
        self._fault: BaseException | None = None

    def fetch(
        self, connection: HttpConnection, response: http.client.HTTPResponse, more: int, free: threading.Semaphore
    ) -> None:
        """All ranges, into the file.

        :param response: holds the whole object; nothing of its body has been read.
        :param more: connections beside this one at most.
        :param free: counts those that all transfers together may have beside their first.
        :raises RetryableError: the object was replaced meanwhile.
        :raises Unranged: the server does not do ranges.
        :raises S3Error: one range failed for good.
        """
        threads: list[threading.Thread] = []
        try:
            while len(threads) < min(more, len(self._left) - 1) and free.acquire(blocking=False):
                thread = threading.Thread(target=self._beside, args=(free,), name="mu-range", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads: slower then
                    free.release()
                    break
                threads.append(thread)
            self._guarded(lambda: self._read_from(connection, response))
        finally:
            for thread in threads:
                thread.join()
        if isinstance(self._fault, S3Cancelled):
            raise TransferCancelled
        if isinstance(self._fault, _Replaced):
            raise RetryableError("the object was replaced while it was fetched")
        if self._fault is not None:
            raise self._fault

    def add_to(self, check: Check) -> None:
        """Give a checksum what was fetched."""
        if check.sums:
            for number, crc in enumerate(self._sums):
                check.join(crc, self._bounds(number)[1])
        elif check.reads:
            for block in self._file.blocks(self._size):
                if self._cancelled():
                    raise TransferCancelled
                check.update(block)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _bounds(self, number: int) -> tuple[int, int]:
        """Offset and size of a range."""
        offset = number * self._range_size
        return offset, min(self._range_size, self._size - offset)

    def _over(self) -> bool:
        return self._fault is not None or self._cancelled()

    def _guarded(self, work: Callable[[], None]) -> None:
        """The first fault of any thread ends all."""
        try:
            work()
        except BaseException as fault:  # noqa: BLE001 (it is raised again, in the caller's thread)
            with self._lock:
                self._fault = self._fault or fault

    def _beside(self, free: threading.Semaphore) -> None:
        try:
            self._guarded(self._ranges)
        finally:
            free.release()

    def _ranges(self) -> None:
        """From the end on, until none is left."""
        while (number := _taken(self._left.pop)) is not None:
            self._persist(number)

    def _read_from(self, connection: HttpConnection, response: http.client.HTTPResponse) -> None:
        """From the beginning on, out of one answer; where that breaks, the rest in ranges."""
        body = _BlockReader(connection.blocks(response, BLOCK, self._over))
        while (number := _taken(self._left.popleft)) is not None:
            try:
                self._write(number, body.take(self._bounds(number)[1]))
            except (RetryableError, OSError, http.client.HTTPException):
                self._persist(number)
                self._ranges()
                return
        if response.length:  # the rest comes in ranges: the server need not send it here
            response.close()
            connection.close()

    def _persist(self, number: int) -> None:
        offset, size = self._bounds(number)
        last = offset + size - 1
        self._s3.persist(f"bytes {offset} to {last}", self._over, lambda: self._get(number, offset, last))

    def _get(self, number: int, offset: int, last: int) -> None:
        headers = {"range": f"bytes={offset}-{last}", "if-match": self._etag}
        try:
            with self._s3.open("GET", *self._object, headers, NOTHING, self._over) as (connection, response):
                if response.status != 206:
                    raise Unranged
                if response.getheader("etag", self._etag) != self._etag:
                    raise _Replaced
                expected = f"bytes {offset}-{last}/{self._size}"
                if response.getheader("content-range", expected) != expected:
                    raise Unranged
                body = _BlockReader(connection.blocks(response, BLOCK, self._over))
                self._write(number, body.take(last + 1 - offset))
        except S3Refusal as refusal:
            if refusal.status == 412:
                raise _Replaced from None
            raise

    def _write(self, number: int, blocks: Iterable[bytes]) -> None:
        offset, sum_ = self._bounds(number)[0], 0
        for block in blocks:
            self._file.write(block, offset)
            offset += len(block)
            sum_ = zlib.crc32(block, sum_)
        self._sums[number] = sum_


class _Replaced(Exception):
    """The object is another one now."""


class _BlockReader:
    """A body, taken piece by piece."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._held = b""

    def take(self, size: int) -> Iterator[bytes]:
        """The next ``size`` bytes.

        :raises RetryableError: they do not come.
        """
        missing = size
        while missing:
            block = self._held or next(self._blocks, b"")
            if not block:
                raise RetryableError(f"the body ended after {size - missing} of {size} bytes")
            block, self._held = block[:missing], block[missing:]
            missing -= len(block)
            yield block


def _taken(pop: Callable[[], int]) -> int | None:
    try:
        return pop()
    except IndexError:
        return None
