"""The S3 clients of the commands are made here: one for each region, imported when it is first needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from worker_lambda._errors import CommandFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from worker_lambda.s3 import S3

_MAX_REGIONS = 32


class Store:
    """Blocking transfers; may be used in several threads.

    :param endpoint: URL of an S3; None: the environment's, else AWS's own.
    """

    def __init__(self, endpoint: str | None) -> None:
        self._endpoint = endpoint
        self._clients: dict[str, S3] = {}
        self._lock = threading.Lock()

    def retrieve(self, region: bytes, bucket: bytes, key: bytes, path: bytes, cancelled: Callable[[], bool]) -> None:
        """Fetch an object into a file.

        :raises MuError: the text says why not.
        """
        self._client(region).get(_text(bucket, "bucket"), key, _file(path), cancelled)

    def upload(self, region: bytes, bucket: bytes, key: bytes, path: bytes, cancelled: Callable[[], bool]) -> None:
        """Store a file as an object.

        :raises MuError: the text says why not.
        """
        self._client(region).put(_text(bucket, "bucket"), key, _file(path), cancelled)

    def presign(
        self, region: bytes, bucket: bytes, key: bytes, path: bytes, seconds: int, cancelled: Callable[[], bool]
    ) -> None:
        """Write a URL into a file, by which an object can be read for a while.

        :raises MuError: the text says why not.
        """
        self._client(region).presign(_text(bucket, "bucket"), key, _file(path), seconds, cancelled)

    def close(self) -> None:
        """Close all kept connections."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _client(self, region: bytes) -> S3:
        from worker_lambda.s3 import S3

        name = _text(region, "region")
        with self._lock:
            if name not in self._clients:
                if len(self._clients) >= _MAX_REGIONS:
                    self._clients.pop(next(iter(self._clients))).close()
                self._clients[name] = S3(name, self._endpoint)
            return self._clients[name]


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise CommandFailure(f"the variable {name} is not plain text", "BadCommand") from None


def _file(path: bytes) -> str:
    if b"\0" in path:
        raise CommandFailure("a file name cannot hold a NUL byte", "BadCommand")
    return os.fsdecode(path)
