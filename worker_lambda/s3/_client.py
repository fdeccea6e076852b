"""The S3 client is what the rest of the worker sees of this package.

Importing it costs nothing that a worker without files would miss: ``http.client`` (with ``email`` behind it), ``ssl``
and ``hashlib`` come with the first transfer, through :mod:`worker_lambda.s3._transfer`.
"""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from worker_lambda.s3._transfer import ObjectTransfers


class S3:
    """A signed S3 client. Its transfers block; they may run in several threads at once and share kept connections.

    Credentials are read from ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN`` at each request.

    :param region: where the bucket is taken to be; a redirect of AWS's corrects it.
    :param endpoint: URL of an S3; None: ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL`` or AWS's own by region.
    :param tries: how often a request is sent at most while the fault may pass.
    :param back_off: bound, in seconds, of the random pause after the first try; it doubles with each further one.
    :param timeout: seconds without a byte after which a try is given up.
    :param part_size: a file of more than twice as many bytes is stored in parts of this size (S3 takes 5 MiB and more).
    :param range_size: an object of more than twice as many bytes is fetched in ranges of this size.
    :param connections: for one such object at most.
    """

    def __init__(
        self,
        region: str,
        endpoint: str | None = None,
        *,
        tries: int = 5,
        back_off: float = 0.5,
        timeout: float = 20.0,
        part_size: int = 64 * 1024 * 1024,
        range_size: int = 8 * 1024 * 1024,
        connections: int = 4,
    ) -> None:
        self._settings = (region, endpoint, tries, back_off, timeout, part_size, range_size, connections)
        self._lock = threading.Lock()
        self._transfers: ObjectTransfers | None = None

    def get(self, bucket: str, key: bytes, path: str, cancelled: Callable[[], bool]) -> None:
        """Fetch an object into a file, which appears whole or not at all.

        :param path: the file; an old one is replaced. Its directory must be there.
        :param cancelled: asked between blocks and while waiting, from several threads; true ends the transfer.
        :raises S3Error: as its text says. Nothing new is under ``path`` then.
        """
        self._ready().get(bucket, key, path, cancelled)

    def put(self, bucket: str, key: bytes, path: str, cancelled: Callable[[], bool]) -> None:
        """Store a file as an object.

        :raises S3Error: as its text says.
        """
        self._ready().put(bucket, key, path, cancelled)

    def presign(self, bucket: str, key: bytes, path: str, seconds: int, cancelled: Callable[[], bool]) -> None:
        """Write a URL into a file, by which an object can be got for a while without credentials.

        :param seconds: 1 to 604800; the environment's credentials may end earlier.
        :raises S3Error: as its text says, and where the object is not there.
        """
        self._ready().presign(bucket, key, path, seconds, cancelled)

    def close(self) -> None:
        """Close the kept connections. The client stays usable."""
        with self._lock:
            if self._transfers is not None:
                self._transfers.close()

    def _ready(self) -> ObjectTransfers:
        with self._lock:
            if self._transfers is None:
                from worker_lambda.s3._transfer import (
                    ObjectTransfers,  # costs 15 ms, which a worker without files saves
                )

                self._transfers = ObjectTransfers(*self._settings)
            return self._transfers
