"""One connection to the coordinator: dialling, TLS, frames in and out, none of it blocking.

Knows frames, not what they say. Nothing is called back from within :meth:`Connection.send`.
"""

import errno
import os
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from mu_twisted.wire import MAX_COMMAND, Decoder, FrameError, encode
from worker_lambda._dialling import Target, dial_error, tune
from worker_lambda._errors import DialError
from worker_lambda._tls import demand_coordinator

DIAL_TIMEOUT = 10.0
"""Seconds for connecting and for the TLS handshake, at each of the host's addresses."""
MAX_UNSENT = 4 << 20
"""Bytes of replies beyond which no more commands are read until the coordinator takes them."""
_READ = 64 << 10
_CHUNKS = 16


class _Phase(Enum):
    CONNECTING = 0
    SHAKING = 1
    UP = 2
    CLOSED = 3


class Connection:
    """Tries a host's addresses in turn until one answers.

    :param selector: the loop's; the data registered is the function to call with the events.
    :param targets: where to dial, see :func:`worker_lambda._dialling.resolve`.
    :param context: for TLS; None for plain TCP.
    :param expect_coordinator: whether the certificate shown must name a coordinator.
    :param came_up: called once when frames can be sent.
    :param received: called with each payload.
    :ivar lost: why it is over, None while it is not. To be looked at after each pass of the loop.
    :ivar heard: whether a whole frame has come.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        targets: list[Target],
        context: ssl.SSLContext | None,
        *,
        expect_coordinator: bool,
        came_up: Callable[[], None],
        received: Callable[[bytes], None],
    ) -> None:
        self.lost: DialError | None = None
        self.heard = False
        self._selector = selector
        self._targets = list(targets)
        self._context = context
        self._expect_coordinator = expect_coordinator
        self._came_up = came_up
        self._received = received
        self._decoder = Decoder(MAX_COMMAND)
        self._unsent = bytearray()
        self._socket: socket.socket | None = None
        self._phase = _Phase.CONNECTING
        self._deadline = 0.0
        self._interest = 0
        self._read_more = False
        self._wants_write = False
        self._next()

    @property
    def up(self) -> bool:
        """Whether frames can be sent."""
        return self._phase is _Phase.UP

    @property
    def clogged(self) -> bool:
        """Whether the coordinator does not take what it is sent."""
        return len(self._unsent) > MAX_UNSENT

    def send(self, payload: bytes) -> None:
        """Queue one frame; dropped when the connection is gone."""
        if self._phase is _Phase.UP:
            self._unsent += encode(payload)

    def step(self) -> float | None:
        """Write what can be written, read what TLS holds back; to be called in each pass of the loop.

        :returns: in how many seconds to call again at the latest; None: when something happens.
        """
        if self._phase is _Phase.UP and self._read_more and not self.clogged:
            self._read()
        if self._phase is _Phase.UP:
            self._flush()
        self._watch()
        if self._phase is _Phase.UP:
            return 0.0 if self._read_more and not self.clogged else None
        if self._phase is _Phase.CLOSED:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._fail_target(DialError("no answer" if self._phase is _Phase.CONNECTING else "no TLS handshake"))
            return 0.0
        return left

    def close(self, *, flush: float) -> None:
        """Close it.

        :param flush: for how many seconds at most to write what is queued.
        """
        if flush > 0 and self._phase is _Phase.UP:
            self._drain(flush)
        sock = self._socket
        if sock is not None and self._phase is _Phase.UP:
            if isinstance(sock, ssl.SSLSocket):
                with suppress(OSError, ValueError):
                    sock.unwrap()  # says goodbye; does not wait for the answer
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        self._close_socket()
        self._phase = _Phase.CLOSED

    # -- dialling --------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Begin with the next address."""
        family, address = self._targets.pop(0)
        self._phase = _Phase.CONNECTING
        self._deadline = time.monotonic() + DIAL_TIMEOUT
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            tune(self._socket)
            code = self._socket.connect_ex(address)
        except OSError as error:
            self._fail_target(dial_error(error))
            return
        if code not in (0, errno.EINPROGRESS):
            self._fail_target(DialError(os.strerror(code)))
            return
        self._watch()

    def _fail_target(self, error: DialError) -> None:
        self._close_socket()
        if self._targets and not error.final and self._phase is not _Phase.UP:
            self._next()
        else:
            self._phase = _Phase.CLOSED
            self.lost = error

    def _ready(self, events: int) -> None:
        if self._phase is _Phase.CONNECTING:
            self._connected()
        if self._phase is _Phase.SHAKING:
            self._shake()
        elif self._phase is _Phase.UP and events & selectors.EVENT_READ:
            self._read()

    def _connected(self) -> None:
        sock = self._socket
        assert sock is not None
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail_target(DialError(os.strerror(code)))
        elif self._context is None:
            self._opened()
        else:
            self._unregister()
            try:
                self._socket = self._context.wrap_socket(sock, do_handshake_on_connect=False)
            except OSError as error:
                self._fail_target(dial_error(error))
                return
            self._phase = _Phase.SHAKING

    def _shake(self) -> None:
        sock = self._socket
        assert isinstance(sock, ssl.SSLSocket)
        try:
            sock.do_handshake()
            if self._expect_coordinator:
                demand_coordinator(sock)
        except ssl.SSLWantReadError:
            self._wants_write = False
        except ssl.SSLWantWriteError:
            self._wants_write = True
        except DialError as error:
            self._fail_target(error)
        except OSError as error:
            self._fail_target(dial_error(error))
        else:
            self._opened()

    def _opened(self) -> None:
        self._phase = _Phase.UP
        self._targets.clear()
        self._wants_write = False
        self._read_more = True  # the handshake may have brought more than itself
        self._came_up()

    # -- bytes -----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        sock = self._socket
        assert sock is not None
        self._read_more = False
        for _ in range(_CHUNKS):  # not for ever: jobs want their turn
            try:
                data = sock.recv(_READ)
            except (ssl.SSLWantReadError, BlockingIOError):
                return
            except ssl.SSLWantWriteError:
                self._wants_write = True
                return
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                data = b""
            except OSError as error:
                self._fail_target(dial_error(error))
                return
            if not data:
                self._fail_target(DialError("closed by the coordinator"))
                return
            if not self._deliver(data):
                return
        self._read_more = True

    def _deliver(self, data: bytes) -> bool:
        fault: FrameError | None = None
        try:
            payloads = self._decoder.feed(data)
        except FrameError as error:
            payloads, fault = error.completed, error
        for payload in payloads:
            self.heard = True
            self._received(payload)
        if fault is not None:
            with suppress(OSError):
                self._flush()
            if self._phase is _Phase.UP:
                self._fail_target(DialError(f"protocol error: {fault}"))
            return False
        if self.clogged:
            self._read_more = True  # later: TLS may hold what the kernel no longer reports
            return False
        return self._phase is _Phase.UP

    def _flush(self) -> None:
        sock = self._socket
        assert sock is not None
        self._wants_write = False
        while self._unsent:
            try:
                with memoryview(self._unsent) as view:
                    count = sock.send(view[:_READ])
            except (ssl.SSLWantWriteError, BlockingIOError):
                self._wants_write = True
                return
            except ssl.SSLWantReadError:
                return
            except OSError as error:
                self._fail_target(dial_error(error))
                return
            del self._unsent[:count]

    def _drain(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while self._phase is _Phase.UP:
            self._flush()
            left = deadline - time.monotonic()
            sock = self._socket
            if not self._unsent or left <= 0 or sock is None:
                return
            with selectors.DefaultSelector() as waiting:
                waiting.register(sock, selectors.EVENT_WRITE)
                waiting.select(left)

    # -- the selector ----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        sock = self._socket
        if sock is None:
            return
        if self._phase is _Phase.CONNECTING:
            interest = selectors.EVENT_WRITE
        elif self._phase is _Phase.SHAKING:
            interest = selectors.EVENT_WRITE if self._wants_write else selectors.EVENT_READ
        else:
            reading = selectors.EVENT_READ if not self.clogged else 0
            interest = reading | (selectors.EVENT_WRITE if self._wants_write else 0)
        if interest == self._interest:
            return
        if not self._interest:
            self._selector.register(sock, interest, self._ready)
        elif interest:
            self._selector.modify(sock, interest, self._ready)
        else:
            self._selector.unregister(sock)
        self._interest = interest

    def _unregister(self) -> None:
        if self._interest and self._socket is not None:
            self._selector.unregister(self._socket)
            self._interest = 0

    def _close_socket(self) -> None:
        self._unregister()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._unsent.clear()
