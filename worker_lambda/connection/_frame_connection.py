"""A connection to a coordinator or a rendezvous carries frames in and out, none of it blocking.

Knows frames, not what they say. Nothing is called back from within :meth:`FrameConnection.send`.
"""

import selectors
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from mu_twisted.wire import Decoder, FrameError, encode
from worker_lambda._errors import DialError
from worker_lambda.connection._dialling import Dial, Partner, Target, dial_error, unacknowledged
from worker_lambda.connection._socket_watch import SocketWatch
from worker_lambda.connection._streams import Stream

MAX_UNSENT = 4 << 20
"""Bytes that were not taken beyond which a connection is clogged."""
_CHUNKS = 64


class _ConnectionPhase(Enum):
    DIALLING = 0
    UP = 1
    CLOSED = 2


class FrameConnection:
    """Tries a host's addresses in turn until one answers; then frames travel.

    :param selector: the loop's; the data registered is the function to call with the events.
    :param targets: where to dial, see :func:`worker_lambda.connection._dialling.resolve`.
    :param context: for TLS; None for plain TCP.
    :param partner: see :class:`worker_lambda.connection._dialling.Partner`.
    :param came_up: called once when frames travel.
    :param received: called with each payload.
    :param held: says whether nothing is to be read now; None: not while the connection is clogged.
    :param prepare: see :class:`worker_lambda.connection._dialling.Dial`.
    :param stream: one that is there already; then there are no targets, and ``came_up`` is not called.
    :ivar lost: why it is over, None while it is not. To be checked after each pass of the loop.
    :ivar due: whether :meth:`step` has something to do; where it is not it need not be called.
    :ivar heard: whether a whole frame has come.
    :ivar finished: whether the other side has closed too after :meth:`finish`, having read everything.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        targets: list[Target],
        context: ssl.SSLContext | None,
        partner: Partner,
        *,
        came_up: Callable[[], None] = lambda: None,
        received: Callable[[bytes], None],
        held: Callable[[], bool] | None = None,
        prepare: Callable[[socket.socket], None] | None = None,
        stream: Stream | None = None,
    ) -> None:
        self.lost: DialError | None = None
        self.heard = self.finished = False
        self.due = True
        self._partner = partner
        self._came_up = came_up
        self._received = received
        self._held = held or (lambda: self.clogged)
        self._decoder = Decoder(partner.max_frame)
        self._unsent = bytearray()
        self._stream = stream
        self._watch = SocketWatch(selector, self._ready)
        self._phase = _ConnectionPhase.DIALLING if stream is None else _ConnectionPhase.UP
        self._stall_timeout = partner.stall_timeout
        self._taken = 0.0  # when something was taken last
        self._finishing = self._half_closed = False
        self._on_the_way = 0
        self._read_more = stream is not None
        self._dial = Dial(selector, targets, context, partner.role, self._opened, prepare) if targets else None

    @property
    def answered(self) -> bool:
        """Whether the other side has taken the connection; with TLS, frames may have to wait for its handshake."""
        return self._dial is None or self._dial.answered

    @property
    def sock(self) -> socket.socket | None:
        """The socket that frames travel by; None while they do not."""
        return None if self._stream is None else self._stream.socket

    @property
    def up(self) -> bool:
        """Whether frames travel."""
        return self._phase is _ConnectionPhase.UP

    @property
    def clogged(self) -> bool:
        """Whether the other side does not take what it is sent."""
        return len(self._unsent) > MAX_UNSENT

    @property
    def idle(self) -> bool:
        """Whether frames travel, and all that were sent have been taken by the system."""
        return self._stream is not None and not self._unsent and not self._stream.unsent

    @property
    def unsent(self) -> int:
        """Bytes that wait to be taken."""
        return len(self._unsent)

    def send(self, payload: bytes) -> None:
        """Queue one frame; it waits until the connection is up, and is dropped when that is gone."""
        if self._phase is not _ConnectionPhase.CLOSED and not self._finishing:
            if not self._unsent:
                self._taken = time.monotonic()
            self._unsent += encode(payload)
            self.due = True

    def finish(self, timeout: float) -> None:
        """Close our direction behind what is queued; what comes is received until the other side has closed too.

        :param timeout: seconds for which nothing may happen until then.
        """
        self._finishing = self.due = True
        self._stall_timeout = timeout
        self._taken = time.monotonic()

    def step(self) -> float | None:
        """Write what can be written, read what TLS holds back; to be called in each pass of the loop.

        :returns: in how many seconds to call again at the latest; None: when something happens.
        """
        if self._phase is _ConnectionPhase.DIALLING and self._dial is not None:
            wait = self._dial.step()
            if self._dial.error is not None:
                self._lose(self._dial.error)
            return wait
        if self._phase is _ConnectionPhase.UP and self._read_more and not self._held():
            self._read()
        if self._phase is _ConnectionPhase.UP:
            self._flush()
        if self._stream is not None and self._finishing and not self._unsent and not self._half_closed:
            self._half_close(self._stream)
        if self._stream is None:
            return None
        held = self._held()
        reading = selectors.EVENT_READ if not held else 0
        writing = selectors.EVENT_WRITE if self._unsent or self._stream.unsent else 0
        self._watch.set(self._stream.socket, reading | writing)
        self.due = bool(held or writing or self._read_more or self._finishing)
        return 0.0 if self._read_more and not held else self._check_stall()

    def close(self, *, flush: float) -> None:
        """Close it.

        :param flush: for how many seconds at most to write what is queued.
        """
        if flush > 0 and self._phase is _ConnectionPhase.UP:
            self._drain(flush)
        if self._stream is not None and not self._half_closed:
            with suppress(OSError):
                self._stream.close_writing()  # and does not wait for the answer
        self._close_socket()

    # -- its phases ------------------------------------------------------------------------------------------------

    def _opened(self, stream: Stream) -> None:
        self._stream = stream
        self._phase = _ConnectionPhase.UP
        self._taken = time.monotonic()
        self._read_more = True  # the handshake may have brought more than itself
        self._came_up()

    def _check_stall(self) -> float | None:
        if self._stall_timeout is None or not (self._unsent or self._finishing):
            return None
        now = time.monotonic()
        if now >= self._taken + self._stall_timeout and self._half_closed and self._stream is not None:
            before, self._on_the_way = self._on_the_way, unacknowledged(self._stream.socket)
            if self._on_the_way < before:  # slowly, but it moves
                self._taken = now
        left = self._taken + self._stall_timeout - now
        if left > 0:
            return left
        what = "not confirmed" if self._half_closed else "taken nothing of"
        self._lose(DialError(f"the {self._partner.name} has {what} what it was sent for {self._stall_timeout:g} s"))
        return 0.0

    def _half_close(self, stream: Stream) -> None:
        try:
            stream.close_writing()
        except OSError as error:
            self._broke(error)
            return
        self._half_closed = True
        self._on_the_way = unacknowledged(stream.socket)
        self._taken = time.monotonic()
        self._read_more = True

    def _ended(self) -> None:
        """The other side has closed, in due form."""
        if self._half_closed:
            self.finished = True
            self._close_socket()
        else:
            self._lose(DialError(f"closed by the {self._partner.name}"))

    def _broke(self, error: OSError) -> None:
        closed = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        self._lose(DialError(f"closed by the {self._partner.name}") if closed else dial_error(error))

    def _lose(self, error: DialError) -> None:
        self._close_socket()
        self.lost = error

    def _close_socket(self) -> None:
        self._phase = _ConnectionPhase.CLOSED
        if self._dial is not None:
            self._dial.close()
        self._watch.clear()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._unsent.clear()

    # -- bytes -----------------------------------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        self.due = True
        if self._phase is _ConnectionPhase.UP and events & selectors.EVENT_READ:
            self._read()

    def _read(self) -> None:
        self._read_more = False
        for _ in range(_CHUNKS):  # not for ever: the loop has other descriptors
            if self._stream is None:
                return
            try:
                data = self._stream.receive()
            except OSError as error:
                self._broke(error)
                return
            if data is None:
                return
            if not data:
                self._ended()
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
            if self._phase is _ConnectionPhase.UP:
                self._lose(DialError(f"protocol error: {fault}"))
            return False
        if self._held():
            self._read_more = True  # later: TLS may hold what the kernel no longer reports
            return False
        return self._phase is _ConnectionPhase.UP

    def _flush(self) -> None:
        stream = self._stream
        assert stream is not None
        try:
            for _ in range(_CHUNKS):
                if not self._unsent:
                    stream.flush()
                    return
                with memoryview(self._unsent) as view:
                    count = stream.send(view)
                if not count:
                    return
                self._taken = time.monotonic()
                del self._unsent[:count]
        except OSError as error:
            self._broke(error)

    def _drain(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._phase is _ConnectionPhase.UP:
            self._flush()
            left = deadline - time.monotonic()
            if self._stream is None or not (self._unsent or self._stream.unsent) or left <= 0:
                return
            with selectors.DefaultSelector() as waiting:
                waiting.register(self._stream.socket, selectors.EVENT_WRITE)
                waiting.select(left)
