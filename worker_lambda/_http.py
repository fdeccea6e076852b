"""HTTP connections that are kept, and can be cancelled at any moment. It knows nothing of S3."""

from __future__ import annotations

import http.client
import os
import select
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from worker_lambda._http_sockets import Cancelled, Origin, dial, wait_for

_IDLE = 10.0
"""Seconds after which a kept connection is not trusted: a frozen environment does not see its peer close."""
_KEPT = 16
"""Kept connections to one origin at most."""


class Connection:
    """One connection, for one request at a time.

    :ivar kept: it has served before, so the server may have closed it meanwhile.
    :raises Cancelled: the caller said so before it was made.
    """

    def __init__(
        self, origin: Origin, timeout: float, context: ssl.SSLContext | None, cancelled: Callable[[], bool]
    ) -> None:
        self.origin = origin
        self.kept = False
        self.idle_since = 0.0
        self._timeout = timeout
        self._http = http.client.HTTPConnection(origin.host, origin.port)
        self._http.auto_open = 0  # it would dial by itself, and without TLS
        # Kept here too: http.client forgets it before the body of a last answer is read.
        self._socket = self._http.sock = dial(origin, timeout, context, cancelled)

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
        :raises OSError, http.client.HTTPException: the connection is of no use any more.
        """
        self._http.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            self._http.putheader(name, value)
        self._http.endheaders()
        try:
            for block in body:
                self._send(block, cancelled)
        except ConnectionError:
            # A server that refuses does not read the body; its answer may be here and says why.
            try:
                return self._http.getresponse()
            except (OSError, http.client.HTTPException):
                pass
            raise
        self.wait(cancelled)
        return self._http.getresponse()

    def wait(self, cancelled: Callable[[], bool]) -> None:
        """Block until bytes can be read.

        :raises Cancelled: the caller said so.
        :raises TimeoutError: nothing came in time.
        """
        if cancelled():
            raise Cancelled
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return
        wait_for(self._socket, select.POLLIN, self._timeout, cancelled, f"no answer in {self._timeout:g} s")

    def _send(self, block: bytes, cancelled: Callable[[], bool]) -> None:
        view = memoryview(block)
        while view:
            if cancelled():
                raise Cancelled
            wait_for(self._socket, select.POLLOUT, self._timeout, cancelled, f"nothing taken in {self._timeout:g} s")
            view = view[self._socket.send(view) :]

    def blocks(self, response: http.client.HTTPResponse, size: int, cancelled: Callable[[], bool]) -> Iterable[bytes]:
        """The body of an answer as it comes, in blocks of ``size`` bytes at most; it may end early."""
        # What came with the head lies in the response's own buffer, where poll does not see it; the reads after the
        # first pass that buffer by, but for a chunked body.
        direct = False
        while block := self._block(response, size, direct and not response.chunked, cancelled):
            yield block
            direct = True

    def _block(
        self, response: http.client.HTTPResponse, size: int, direct: bool, cancelled: Callable[[], bool]
    ) -> bytes:
        if cancelled():
            raise Cancelled
        if not response.chunked and response.length == 0:
            return b""
        if direct or not self._is_buffered(response):
            self.wait(cancelled)
        return response.read1(size)

    def _is_buffered(self, response: http.client.HTTPResponse) -> bool:
        """Whether a read would not wait."""
        if response.isclosed():
            return True
        self._socket.settimeout(0)
        try:
            return bool(response.fp.peek(1))
        except ssl.SSLWantReadError:
            return False
        finally:
            self._socket.settimeout(self._timeout)

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
        self._kept: dict[Origin, list[Connection]] = {}
        self._context: ssl.SSLContext | None = None

    def take(self, origin: Origin, cancelled: Callable[[], bool]) -> Connection:
        """A connection for one request: a kept one or a new one.

        :raises Cancelled: the caller said so.
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
        return Connection(origin, self._timeout, self._tls() if origin.scheme == "https" else None, cancelled)

    def give(self, connection: Connection, response: http.client.HTTPResponse) -> None:
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
