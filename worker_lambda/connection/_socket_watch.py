"""A socket's registration with the loop is made, changed and removed here, so that none is left behind."""

import selectors
import socket
from collections.abc import Callable


class SocketWatch:
    """One socket's registration with a selector.

    :param selector: the loop's; the data registered is the function to call with the events.
    :param call: that function.
    """

    def __init__(self, selector: selectors.BaseSelector, call: Callable[[int], None]) -> None:
        self._selector = selector
        self._call = call
        self._socket: socket.socket | None = None
        self._interest = 0

    def set(self, sock: socket.socket, interest: int) -> None:
        """Watch this socket for these events and nothing else; 0 for none."""
        if sock is not self._socket:
            self.clear()
        if interest == self._interest:
            return
        if not self._interest:
            self._selector.register(sock, interest, self._call)
        elif interest:
            self._selector.modify(sock, interest, self._call)
        else:
            self._selector.unregister(sock)
        self._interest = interest
        self._socket = sock if interest else None

    def clear(self) -> None:
        """Watch nothing; to be called before the socket is closed."""
        if self._interest and self._socket is not None:
            self._selector.unregister(self._socket)
        self._interest = 0
        self._socket = None
