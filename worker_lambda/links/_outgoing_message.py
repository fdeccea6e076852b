"""An outgoing message gives its frames, from the first again where that is needed. Knows no path, no other message."""

import hashlib
from collections import deque
from collections.abc import Callable

from mu_twisted.wire.links import MAX_PART, Begin, Cut, End, Held, Part, Whole
from worker_lambda.links._files import MessageSource
from worker_lambda.links._paths import DirectPath

_BLOCK = 8 * MAX_PART

MessageStream = tuple[int, bytes]
"""The task at the other end and the name."""


class OutgoingMessage:
    """Its frames come from :meth:`next_frame`, from the first again after :meth:`restart`.

    :param done: called once with what went wrong, None if the message is safe.
    :ivar path: by which it goes; None: by the rendezvous.
    :ivar said: whether the rendezvous was notified that it is held here, for this path, and ``noted``: whether it has
        answered.
    :ivar due: such answers that have not come.
    :ivar arrived: whether the receiver at the end of the direct path has all of it.
    :ivar recalled: whether it was safe before, and the rendezvous is to have it now.
    :ivar given_up: whether it goes on only because it may have arrived.
    """

    def __init__(
        self, stream: MessageStream, number: int, source: MessageSource, done: Callable[[str | None], None]
    ) -> None:
        self.stream = stream
        self.number = number
        self.length = source.length
        self.done = done
        self.path: DirectPath | None = None
        self.over = self.reading = False
        self.said = self.noted = self.arrived = self.recalled = self.given_up = False
        self.due = 0
        self.source = source
        self.restart()

    @property
    def key(self) -> tuple[int, bytes, int]:
        """The task at the other end, the name, the number."""
        return (*self.stream, self.number)

    @property
    def begun(self) -> bool:
        """Whether a part of it has been sent, and not its end."""
        return self._begun and not self.ended

    @property
    def left(self) -> int:
        """Bytes of it that have not been sent."""
        return self.length - self._sent

    @property
    def hungry(self) -> bool:
        """Whether more of it is to be read."""
        return not self.over and not self.reading and not self._parts and self._read < self.length

    @property
    def ending(self) -> bool:
        """Whether nothing but its end is to be sent."""
        return self._begun and not self.ended and self._sent == self.length and not self._parts

    def restart(self) -> None:
        """Begin anew, as on another connection."""
        self._digest = hashlib.sha256()
        self._parts: deque[bytes] = deque()
        self._read = self._sent = 0
        self._begun = self.ended = False
        self._round = object()

    def read(self) -> Callable[[], None]:
        """Read the next block, in a thread.

        :returns: what takes it over, in the loop's.
        :raises CommandFailure: it cannot be read.
        """
        offset, turn, digest = self._read, self._round, self._digest
        block = self.source.read(offset, min(_BLOCK, self.length - offset))
        digest.update(block)

        def take() -> None:
            if turn is self._round and not self.over:
                self._read += len(block)
                self._parts.extend(block[at : at + MAX_PART] for at in range(0, len(block), MAX_PART))

        return take

    def next_frame(self, *, whole: bool = False) -> bytes | None:
        """The next frame; None if there is none now.

        :param whole: whether one frame may have all of it.
        """
        to, name = self.stream
        if self.over or self.ended:
            return None
        if whole and self._read == self.length <= MAX_PART and not self._begun:
            self._begun = self.ended = True
            self._sent = self.length
            return Whole(to, self.number, self._hex, name, self._parts.popleft() if self._parts else b"").encode()
        if self._parts or (not self.length and not self._begun):
            part = self._parts.popleft() if self._parts else b""
            offset, self._sent = self._sent, self._sent + len(part)
            if self._begun:
                return Part(to, self.number, offset, name, part).encode()
            self._begun = True
            return Begin(to, self.number, self.length, name, part).encode()
        if self._sent < self.length:
            return None
        self.ended = True
        return End(to, self.number, self._hex, name).encode()

    def cut(self) -> bytes:
        """Says that it will not go on."""
        to, name = self.stream
        return Cut(to, self.number, name).encode()

    def held(self) -> bytes:
        """Notifies the rendezvous that it is held here: all of it was read, for its path."""
        assert self.path is not None
        to, name = self.stream
        return Held(to, self.number, self.path.attempt, self._hex, name).encode()

    def close(self) -> None:
        """End it; nothing is said."""
        self.over = True
        self._parts.clear()
        self.source.close()

    @property
    def _hex(self) -> bytes:
        return self._digest.hexdigest().encode("ascii")
