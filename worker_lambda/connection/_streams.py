"""Streams carry bytes over a connected socket, with TLS or without; nothing here blocks.

TLS works on memory, and the bytes are moved here. Only so can a goodbye be said while the other side still sends: the
library's own, on a socket, reads at once for the answer, and is broken for good if it finds anything else.
"""

import socket
import ssl
from contextlib import suppress

_READ = 64 << 10
_RECORD = 16 << 10


class Stream:
    """A plain connection.

    :param sock: connected, and not blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    @property
    def unsent(self) -> bool:
        """Whether something that was taken by :meth:`send` has not gone out; see :meth:`flush`."""
        return False

    def receive(self) -> bytes | None:
        """What has come; None if nothing has, no bytes if the other side has closed in due form.

        :raises OSError: the connection is broken, or was cut off.
        """
        try:
            return self.socket.recv(_READ)
        except BlockingIOError:
            return None

    def send(self, data: memoryview) -> int:
        """Take as much as can be taken now; returns how many bytes.

        :raises OSError: the connection is broken.
        """
        try:
            return self.socket.send(data[:_READ])
        except BlockingIOError:
            return 0

    def flush(self) -> None:
        """Send on what was taken.

        :raises OSError: the connection is broken.
        """

    def close_writing(self) -> None:
        """Say that nothing more comes. What the other side sends can still be received.

        :raises OSError: the connection is broken.
        """
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close it as it is."""
        self.socket.close()


class TlsStream(Stream):
    """A connection with TLS; :meth:`shake` comes first.

    :param sock: see :class:`Stream`.
    :param context: the client's, or the server's.
    :param server_side: whether the other side is the client.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool = False) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ahead = b""  # received before it was asked for
        self._going = memoryview(b"")  # of the outgoing, what the system has not taken
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)

    @property
    def unsent(self) -> bool:
        """See :class:`Stream`."""
        return bool(self._going) or bool(self._outgoing.pending)

    def shake(self) -> bool:
        """Go on with the handshake; returns whether it is done.

        :raises OSError: it has failed, as an error of TLS or of the system.
        """
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                if not self._pull():
                    return False
            except ssl.SSLError:
                with suppress(OSError):  # the alert says why
                    self.flush()
                raise
            else:
                self.flush()
                return True

    def receive(self) -> bytes | None:
        """See :class:`Stream`."""
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        while True:
            try:
                return self.tls.read(_READ)
            except ssl.SSLWantReadError:
                if not self._pull():
                    return None
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                if error.reason == "UNEXPECTED_EOF_WHILE_READING":  # which is of this type only in later versions
                    raise ssl.SSLEOFError(*error.args) from error
                raise

    def unread(self, data: bytes) -> None:
        """Have :meth:`receive` return this next: it was received, and is not the receiver's."""
        self._ahead = data + self._ahead

    def send(self, data: memoryview) -> int:
        """See :class:`Stream`."""
        self.flush()
        if self.unsent:
            return 0
        count = self.tls.write(data[:_READ])
        self.flush()
        return count

    def flush(self) -> None:
        """See :class:`Stream`."""
        while self.unsent:
            if not self._going:
                self._going = memoryview(self._outgoing.read())
            try:
                count = self.socket.send(self._going)
            except BlockingIOError:
                return
            self._going = self._going[count:]

    def close_writing(self) -> None:
        """See :class:`Stream`."""
        while self.tls.pending():
            self._ahead += self.tls.read(_RECORD)
        later = self._incoming.read()
        with suppress(ssl.SSLWantReadError):  # the answer comes behind all that is still to be received
            self.tls.unwrap()
        self._incoming.write(later)
        self.flush()

    def _pull(self) -> bool:
        """Take from the system; returns whether there was anything, the end included."""
        try:
            data = self.socket.recv(_READ)
        except BlockingIOError:
            return False
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return True
