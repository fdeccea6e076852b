"""HTTP connections are kept here, and can be cancelled at any moment. Knows nothing of S3."""

from __future__ import annotations

import http.client
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from worker_lambda.s3._http_sockets import HttpOrigin, Wire, dial

_IDLE = 10.0
"""Seconds after which a kept connection is not trusted: a frozen environment does not see its peer close."""
_KEPT = 16
"""Kept connections to one origin at most."""


class HttpConnection:
    """One connection, for one request at a time.

    :ivar kept: it has served before, so the server may have closed it meanwhile.
    :raises TransferCancelled: the caller said so before it was made.
    """

    def __init__(
        self, origin: HttpOrigin, timeout: float, context: ssl.SSLContext | None, cancelled: Callable[[], bool]
    ) -> None:
        self.origin = origin
        self.kept = False
        self.idle_since = 0.0
        self._http = http.client.HTTPConnection(origin.host, origin.port)
        self._http.auto_open = 0  # it would dial by itself, and without TLS
        self._socket = dial(origin, timeout, context, cancelled)
        self._wire = Wire(self._socket, timeout, cancelled)
        self._http.sock = self._wire  # it uses no more of a socket than this has

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Iterable[bytes],
        cancelled: Callable[[], bool],
    ) -> http.client.HTTPResponse:
        """Send a request and read the head of its answer.

        :param target: path and query as they go on the wire.
        :raises TransferCancelled: the caller said so.
        :raises OSError, http.client.HTTPException: the connection is of no use any more.
        """
        self._wire.cancelled = cancelled
        self._http.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            self._http.putheader(name, value)
        self._http.endheaders()
        try:
            for block in body:
                self._wire.sendall(block)
        except ConnectionError:
            # A server that refuses does not read the body; its answer may be here and says why.
            try:
                return self._http.getresponse()
            except (OSError, http.client.HTTPException):
                pass
            raise
        return self._http.getresponse()

    def blocks(self, response: http.client.HTTPResponse, size: int, cancelled: Callable[[], bool]) -> Iterable[bytes]:
        """The body of an answer as it comes, in blocks of ``size`` bytes at most; it may end early.

        :raises TransferCancelled: the caller said so.
        :raises OSError, http.client.HTTPException: the connection is of no use any more.
        """
        self._wire.cancelled = cancelled
        while response.length != 0 and (block := response.read1(size)):
            yield block

    def close(self) -> None:
        """Give the connection up."""
        self._http.close()
        self._socket.close()


class Pool:
    """Connections to any number of origins, for any number of threads.

    :param timeout: seconds without a byte after which a wait fails.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._kept: dict[HttpOrigin, list[HttpConnection]] = {}
        self._context: ssl.SSLContext | None = None

    def take(self, origin: HttpOrigin, cancelled: Callable[[], bool]) -> HttpConnection:
        """A connection for one request: a kept one or a new one.

        :raises TransferCancelled: the caller said so.
        :raises OSError: it cannot be made.
        :raises ValueError: it never can: a name that is none, a bad ``AWS_CA_BUNDLE``.
        """
        while True:
            with self._lock:
                connections = self._kept.get(origin)
                if not connections:
                    break
                connection = connections.pop()
            if abs(time.time() - connection.idle_since) < _IDLE:
                return connection
            connection.close()
        return HttpConnection(origin, self._timeout, self._tls() if origin.scheme == "https" else None, cancelled)

    def give(self, connection: HttpConnection, response: http.client.HTTPResponse) -> None:
        """Take a connection back, to keep it where its answer was read to the end and the server keeps it too."""
        whole = response.length == 0 or (response.length is None and response.isclosed())
        if whole and not response.will_close:
            response.read()  # lets http.client know that the next request may come
            connection.kept = True
            connection.idle_since = time.time()
            with self._lock:
                connections = self._kept.setdefault(connection.origin, [])
                if len(connections) < _KEPT:
                    connections.append(connection)
                    return
        response.close()
        connection.close()

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            kept, self._kept = self._kept, {}
        for connections in kept.values():
            for connection in connections:
                connection.close()

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                bundle = os.environ.get("AWS_CA_BUNDLE") or None
                try:
                    self._context = ssl.create_default_context(cafile=bundle)
                except OSError as error:
                    raise ValueError(f"AWS_CA_BUNDLE names {bundle}: {error}") from None
            return self._context
