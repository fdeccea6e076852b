"""The messages that a worker sends: the frames of each, on whatever path, until they are acknowledged.

Knows no connection: frames are asked for, answers come in. Files are read beside the loop.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

from mu_twisted.wire.links import MAX_PART, Ack, Begin, Cut, End, Nak, Part
from worker_lambda._command_runs import CommandRuns
from worker_lambda._errors import CommandFailure
from worker_lambda._link_files import MessageSource

MAX_SENDING = 8
"""Messages that are sent at once; others wait."""
MAX_WAITING = 10_000
"""Messages that wait to be sent or received."""
MAX_WAITING_BYTES = 16 << 20
"""Bytes of messages that came with their commands."""
_BLOCK = 8 * MAX_PART

Stream = tuple[int, bytes]
"""The task at the other end and the name."""


class StreamNumbers:
    """Numbers the messages of each stream; one that was given back is given again first."""

    def __init__(self) -> None:
        self._next: dict[Stream, int] = {}
        self._returned: dict[Stream, list[int]] = {}

    def take(self, stream: Stream) -> int:
        """The next number."""
        returned = self._returned.get(stream)
        if returned:
            number = heappop(returned)
            if not returned:
                del self._returned[stream]
            return number
        number = self._next.get(stream, 1)
        self._next[stream] = number + 1
        return number

    def give_back(self, stream: Stream, number: int) -> None:
        """A message with this number has come to nothing."""
        heappush(self._returned.setdefault(stream, []), number)

    def taken(self, stream: Stream, number: int) -> None:
        """A message has this number that was not taken from here."""
        self._next[stream] = max(self._next.get(stream, 1), number + 1)

    def next(self, stream: Stream) -> int:
        """The number after the largest that was given."""
        return self._next.get(stream, 1)

    def last(self, name: bytes) -> list[tuple[int, int]]:
        """The last numbers of all streams of a name, by their tasks."""
        return [(peer, number - 1) for (peer, each), number in self._next.items() if each == name]


class OutgoingMessage:
    """One message on its way. Its frames come from :meth:`next_frame`, from the first again after :meth:`restart`.

    :param done: called once with what went wrong, None if the message is safe.
    """

    def __init__(self, stream: Stream, number: int, source: MessageSource, done: Callable[[str | None], None]) -> None:
        self.stream = stream
        self.number = number
        self.length = source.length
        self.done = done
        self.over = False
        self.reading = False
        self.restart()
        self._source = source

    @property
    def begun(self) -> bool:
        """Whether a part of it has been sent, and not its end."""
        return self._begun and not self._ended

    @property
    def hungry(self) -> bool:
        """Whether more of it is to be read."""
        return not self.over and not self.reading and not self._parts and self._read < self.length

    def restart(self) -> None:
        """Begin anew, as on another connection."""
        self._digest = hashlib.sha256()
        self._parts: deque[bytes] = deque()
        self._read = self._sent = 0
        self._begun = self._ended = False
        self._round = object()

    def read(self) -> Callable[[], None]:
        """Read the next block, in a thread.

        :returns: what takes it over, in the loop's.
        :raises CommandFailure: it cannot be read.
        """
        offset, turn, digest = self._read, self._round, self._digest
        block = self._source.read(offset, min(_BLOCK, self.length - offset))
        digest.update(block)

        def take() -> None:
            if turn is self._round and not self.over:
                self._read += len(block)
                self._parts.extend(block[at : at + MAX_PART] for at in range(0, len(block), MAX_PART))

        return take

    def next_frame(self) -> bytes | None:
        """The next frame; None if there is none now."""
        to, name = self.stream
        if self.over or self._ended:
            return None
        if self._parts or (not self.length and not self._begun):
            part = self._parts.popleft() if self._parts else b""
            offset, self._sent = self._sent, self._sent + len(part)
            if self._begun:
                return Part(to, self.number, offset, name, part).encode()
            self._begun = True
            return Begin(to, self.number, self.length, name, part).encode()
        if self._sent < self.length:
            return None
        self._ended = True
        return End(to, self.number, self._digest.hexdigest().encode("ascii"), name).encode()

    def finish(self, error: str | None) -> None:
        """End it, and say so."""
        self.close()
        self.done(error)

    def close(self) -> None:
        """End it; nothing is said."""
        self.over = True
        self._parts.clear()
        self._source.close()


class Sends:
    """All messages that the worker's task sends.

    :param runs: reads files beside the loop.
    """

    def __init__(self, runs: CommandRuns) -> None:
        self._runs = runs
        self._numbers = StreamNumbers()
        self._waiting: deque[OutgoingMessage] = deque()
        self._sending: dict[tuple[int, bytes, int], OutgoingMessage] = {}
        self._turns: deque[OutgoingMessage] = deque()
        self._answers: deque[bytes] = deque()
        self._held = 0

    @property
    def active(self) -> int:
        """How many are not safe yet."""
        return len(self._waiting) + len(self._sending)

    def add(self, to: int, name: bytes, path: bytes | None, data: bytes, done: Callable[[str | None], None]) -> None:
        """Send a message.

        :param path: the file; None: ``data``.
        :param done: is given what went wrong, None if it is safe.
        :raises CommandFailure: there is no such file, or too many messages wait.
        """
        if self.active >= MAX_WAITING or self._held + len(data) > MAX_WAITING_BYTES:
            raise CommandFailure(f"too many messages wait to be sent: {self.active}, with {self._held} bytes")
        self._held += len(data)

        def over(error: str | None) -> None:
            self._held -= len(data)
            done(error)

        try:
            source = MessageSource(path, data)
        except CommandFailure:
            self._held -= len(data)
            raise
        self._waiting.append(OutgoingMessage((to, name), self._numbers.take((to, name)), source, over))
        self._begin_waiting()

    def restart(self) -> None:
        """Send everything from its beginning, as on a new connection."""
        self._answers.clear()
        for message in self._sending.values():
            message.restart()
            self._read_on(message)

    def next_frame(self) -> bytes | None:
        """The next frame of any message, in turns; None if there is none now."""
        if self._answers:
            return self._answers.popleft()
        for _ in range(len(self._turns)):
            message = self._turns[0]
            self._turns.rotate(-1)
            frame = message.next_frame()
            self._read_on(message)
            if frame is not None:
                return frame
        return None

    def answered(self, answer: Ack | Nak) -> None:
        """A message is safe, or refused; one that is unknown was given up."""
        message = self._sending.get((answer.peer, answer.name, answer.number))
        if message is not None:
            self._end(message, None if isinstance(answer, Ack) else answer.reason.decode("utf-8", "replace"))

    def fail(self, reason: str) -> None:
        """Give all up, each with this reason."""
        waiting = [*self._sending.values(), *self._waiting]
        self._waiting.clear()
        for message in waiting:
            self._end(message, reason)

    def close(self) -> None:
        """Give all up, and say nothing."""
        for message in [*self._sending.values(), *self._waiting]:
            message.close()
        self._waiting.clear()
        self._sending.clear()
        self._turns.clear()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._sending) < MAX_SENDING:
            message = self._waiting.popleft()
            self._sending[(*message.stream, message.number)] = message
            self._turns.append(message)
            self._read_on(message)

    def _read_on(self, message: OutgoingMessage) -> None:
        if not message.hungry:
            return
        message.reading = True
        taken: list[Callable[[], None]] = []

        def read(error: str | None) -> None:
            message.reading = False
            if message.over:
                return
            if error is not None:
                self._end(message, error)
            else:
                taken[0]()
                self._read_on(message)  # if it has begun anew meanwhile

        self._runs.chore(lambda _: taken.append(message.read()), read)

    def _end(self, message: OutgoingMessage, error: str | None) -> None:
        self._sending.pop((*message.stream, message.number), None)
        if message in self._turns:
            self._turns.remove(message)
        if error is not None:
            self._numbers.give_back(message.stream, message.number)
            if message.begun:
                self._answers.append(Cut(message.stream[0], message.number, message.stream[1]).encode())
        message.finish(error)
        self._begin_waiting()
