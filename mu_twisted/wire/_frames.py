"""A frame is a header of twelve decimal digits and a space, then so many bytes of payload.

Knows bytes only. Format and limits: the original mu's chunked messages (``SocketNB``); the check of the announced
length and of the header's form is ours, the original passes the header to ``int()`` as it is.
"""

from mu_twisted.wire._errors import CallerError, FrameError

HEADER_SIZE = 13
_DIGITS = HEADER_SIZE - 1

MAX_COMMAND = 1 << 20
"""Largest command to a worker, bytes of payload."""
MAX_REPLY = 3 << 20
"""Largest reply of a worker that announced itself as ours, bytes of payload."""
MAX_LEGACY_REPLY = 64 << 20
"""Largest reply of a worker that announced nothing: the original sends a run's whole output."""
MAX_PEER_MESSAGE = 64 << 20
"""Largest message relayed between workers, bytes of payload."""

_FIRST_CAPACITY = 4096
_AS_IT_IS = 4096


def encode(payload: bytes | bytearray | memoryview) -> bytes:
    """One frame, ready to be written.

    :param payload: any bytes, fewer than 10**12 of them.
    :raises CallerError: the length does not fit the header's twelve digits.
    """
    if len(payload) >= 10**_DIGITS:
        raise CallerError(f"a payload of {len(payload)} bytes does not fit a header of {_DIGITS} digits")
    return b"".join((b"%012d " % len(payload), payload))


def malformed(header: bytes) -> FrameError:
    """The error of a header that is none.

    :param header: what has come of it.
    """
    return FrameError(f"expected a frame header of {_DIGITS} digits and a blank, got {header!r}")


def too_long(size: int, limit: int) -> FrameError:
    """The error of a frame that is longer than its connection accepts.

    :param size: bytes of payload that its header announces.
    :param limit: bytes of payload that are accepted.
    """
    return FrameError(f"a frame of {size} bytes was announced, the limit is {limit}")


class Decoder:
    """Cuts a stream of bytes into payloads, however the stream was split.

    A payload that arrives in one piece is copied once. One that arrives in many is gathered in blocks that start
    small and grow with what has come, and larger pieces of ``bytes`` are kept as they are, so no byte is copied more
    than twice, and a peer that announces much and sends little costs little.

    :param max_frame: largest payload accepted, in bytes. May be raised or lowered between calls; it is looked at
        when a header is complete.
    """

    __slots__ = ("_body", "_broken", "_header", "max_frame")

    def __init__(self, max_frame: int) -> None:
        self.max_frame = max_frame
        self._header = bytearray()
        self._body: _Payload | None = None
        self._broken: FrameError | None = None

    @property
    def pending(self) -> int:
        """Bytes of an incomplete frame that are held, its header included; 0 between frames."""
        if self._body is not None:
            return HEADER_SIZE + self._body.filled
        return len(self._header)

    @property
    def announced(self) -> int:
        """Size of the payload in the making, bytes; 0 if its header has not come yet."""
        return self._body.size if self._body is not None else 0

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take what one read brought and return the payloads that it completed, in order.

        :raises FrameError: a header is malformed or announces more than ``max_frame``. The payloads completed before
            it in this call are in the error's ``completed``; every later call raises again.
        """
        if self._broken is not None:
            raise self._broken
        completed: list[bytes] = []
        try:
            self._cut(memoryview(data), completed)
        except FrameError as error:
            error.completed = completed
            self._broken = FrameError(str(error))
            self._header = bytearray()
            raise
        return completed

    def _cut(self, data: memoryview, completed: list[bytes]) -> None:
        at, end = 0, len(data)
        while at < end:
            if self._body is None:
                want = HEADER_SIZE - len(self._header)
                self._header += data[at : at + want]
                at += want
                if len(self._header) < HEADER_SIZE:
                    self._check_digits()
                    return
                size = self._size()
                self._header.clear()
                if at + size <= end:
                    completed.append(bytes(data[at : at + size]))
                    at += size
                else:
                    self._body = _Payload(size)
            else:
                at += self._body.add(data[at:])
                if not self._body.missing:
                    completed.append(self._body.take())
                    self._body = None

    def _check_digits(self) -> None:
        if self._header and not self._header[:_DIGITS].isdigit():
            raise malformed(bytes(self._header))

    def _size(self) -> int:
        self._check_digits()
        if self._header[_DIGITS] != 0x20:
            raise malformed(bytes(self._header))
        size = int(self._header[:_DIGITS])
        if size > self.max_frame:
            raise too_long(size, self.max_frame)
        return size


class _Payload:
    """A payload in the making: blocks, each as large as all before it together, the last one cut to fit. Larger pieces
    of bytes that cannot be changed any more are blocks as they are.
    """

    __slots__ = ("_blocks", "_room", "filled", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.filled = 0
        self._blocks: list[bytearray | memoryview] = []
        self._room = 0

    @property
    def missing(self) -> int:
        return self.size - self.filled

    def add(self, piece: memoryview) -> int:
        """Take what is missing at most from the piece's start; return how many bytes."""
        wanted = min(len(piece), self.missing)
        if wanted >= _AS_IT_IS and type(piece.obj) is bytes:
            self._add_as_it_is(piece[:wanted])
            return wanted
        at = 0
        while at < wanted:
            if not self._room:
                self._room = min(self.missing, max(self.filled, wanted - at, _FIRST_CAPACITY))
                self._blocks.append(bytearray(self._room))
            block, count = self._blocks[-1], min(self._room, wanted - at)
            start = len(block) - self._room
            block[start : start + count] = piece[at : at + count]
            self._room -= count
            self.filled += count
            at += count
        return wanted

    def _add_as_it_is(self, piece: memoryview) -> None:
        if self._room:
            block = self._blocks[-1]
            self._blocks[-1] = memoryview(block)[: len(block) - self._room]
            self._room = 0
        self._blocks.append(piece)
        self.filled += len(piece)

    def take(self) -> bytes:
        """The whole payload; to be called once it is complete."""
        return b"".join(self._blocks)
