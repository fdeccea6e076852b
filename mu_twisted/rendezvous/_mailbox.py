"""One mailbox: what was sent to one number of one run, in order. Knows no connections; a reader is any object."""

from collections import deque
from typing import TYPE_CHECKING

from mu_twisted.rendezvous._errors import Full
from mu_twisted.rendezvous._message import Message, MessageFile, Origins
from mu_twisted.rendezvous._spill import BUNDLE, BUNDLED, SpillError
from mu_twisted.wire import HEADER_SIZE

if TYPE_CHECKING:
    from mu_twisted.rendezvous._run import Run

TOGETHER = 5.0
"""Seconds between whose arrival messages may become one bundle, as a bundle grows old as one."""


class Mailbox:
    """Messages that wait, and in a job those that were delivered and are kept.

    :param run: what it belongs to.
    :param me: its number.
    :ivar reader: who takes from it; None: nobody is there.
    :ivar users: connections that read from it or send to it.
    :ivar held: bytes that wait in memory.
    :ivar slow: whether its reader takes too little, so that what waits goes to disk.
    """

    __slots__ = ("_at", "delivered", "gone", "held", "me", "reader", "run", "slow", "users", "waiting")

    def __init__(self, run: "Run", me: int) -> None:
        self.run = run
        self.me = me
        self.waiting: deque[Message] = deque()
        self.delivered: deque[Message] = deque()
        self.gone: dict[int, int] = {}
        self.reader: object | None = None
        self.users = 0
        self.held = 0
        self.slow = False
        self._at = 0

    @property
    def mid_message(self) -> bool:
        """Whether the reader has a part of a message, so that nothing else may be said to it."""
        return self._at > 0

    @property
    def pressing(self) -> bool:
        """Whether more waits in memory than should."""
        store = self.run.store
        return self.held > (0 if store.short else store.limits.window)

    @property
    def eased(self) -> bool:
        """Whether so little waits that more may come."""
        store = self.run.store
        return self.held <= (0 if store.short else store.limits.window // 2)

    def put(self, body: bytes, origins: Origins, now: float) -> None:
        """Keep a message.

        :raises Full: the job has as many undelivered ones as may be. A run of the original's is never told; whoever
            feeds it has to look at :attr:`Run.overfull`.
        """
        run, store = self.run, self.run.store
        message = Message(body, origins, now)
        if run.job and not run.admits(message.length):
            raise Full(
                f"job {run.label} has {run.undelivered.used} bytes of messages that nobody has taken: more than its "
                f"limit of {run.undelivered.limit}, or than the rendezvous can keep of all jobs"
            )
        run.undelivered.used += message.length
        store.undelivered.used += message.length
        store.memory.used += message.memory
        self.waiting.append(message)
        self.held += message.length
        if self.reader is None or self.slow:
            store.idle[self] = None
            if self.held > store.limits.window:
                self.spill()
        if message.length >= store.limits.giant:
            self.spill()
        if store.memory.free < 0 and not store.make_room(0):
            self.spill()

    def attach(self, reader: object) -> object | None:
        """A reader comes, and gets what waits from its first byte.

        :returns: the one that was there before.
        """
        before, self.reader = self.reader, reader
        self._begin_again()
        self.slow = False
        self.run.store.idle.pop(self, None)
        return before

    def detach(self, reader: object) -> None:
        """A reader has gone. What it has not taken to its end waits on."""
        if self.reader is reader:
            self.reader = None
            self._begin_again()
            if self.held:
                self.run.store.idle[self] = None

    def take(self, limit: int) -> bytes | memoryview:
        """The next bytes for the reader, frames as they are; empty if nothing waits.

        :param limit: how many at most, more than a header has.
        :raises SpillError: what was on disk cannot be read any more. It is gone; the reader has a part of it perhaps.
        """
        pieces: list[bytes | memoryview] = []
        admission, waiting = limit, self.waiting
        while waiting and admission > HEADER_SIZE:
            message = waiting[0]
            at = self._at or message.start
            if message.body is None:
                pieces.append(self._read(message, at, admission))
                count = len(pieces[-1])
            else:
                count = min(admission, message.length - at)
                if not at:
                    pieces.append(b"%012d " % len(message.body))
                    if count == message.length:
                        pieces.append(message.body)
                    else:
                        pieces.append(memoryview(message.body)[: count - HEADER_SIZE])
                else:
                    start = at - HEADER_SIZE
                    pieces.append(memoryview(message.body)[start : start + count])
            admission -= count
            self._at = at + count
            if self._at == message.length:
                self._shipped(message)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def replay(self) -> list[int]:
        """All that is kept waits again, from the first.

        :returns: tasks that have sent what is gone and have not begun again since.
        """
        run, store = self.run, self.run.store
        self._at = 0
        if self.waiting:
            self._start(self.waiting[0], 0)
        for message in reversed(self.delivered):
            run.unretain(message)
            run.undelivered.used += message.length
            store.undelivered.used += message.length
            if message.body is not None:
                self.held += message.length
            self.waiting.appendleft(message)
        self.delivered.clear()
        return [task for task, attempt in self.gone.items() if run.attempts.get(task, attempt) <= attempt]

    def forget_oldest(self) -> None:
        """The oldest delivered message goes."""
        message = self.delivered.popleft()
        self.run.unretain(message)
        self._lose(message)

    def expire(self, before: float) -> None:
        """Undelivered messages that arrived before this go; one that the reader has begun to take stays."""
        while self.waiting and not self._at and self.waiting[0].arrived <= before:
            self._drop_first()

    def spill(self) -> None:
        """All that waits in memory goes to disk, in as few files as may be."""
        store = self.run.store
        kept: deque[Message] = deque()
        batch: list[Message] = []
        size = 0

        def write() -> None:
            nonlocal batch, size
            bundle = store.write(self.run.directory, batch) if batch else None
            if bundle is None:
                kept.extend(batch)
            else:
                kept.append(bundle)
                self.held -= bundle.length
            batch, size = [], 0

        for message in self.waiting:
            if message.body is None:
                write()
                kept.append(message)
                continue
            young = not batch or message.arrived - batch[0].arrived <= TOGETHER
            if batch and (size + message.length > BUNDLE or len(batch) == BUNDLED or not young):
                write()
            batch.append(message)
            size += message.length
        write()
        self.waiting = kept
        store.idle.pop(self, None)

    def clear(self) -> None:
        """Everything goes, with no trace."""
        while self.waiting:
            self._drop_first()
        while self.delivered:
            self.forget_oldest()
        self.gone.clear()
        self.run.store.idle.pop(self, None)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _read(self, message: Message, at: int, admission: int) -> bytes:
        try:
            return self.run.store.spill.read(message, at, admission)  # type: ignore[arg-type]
        except SpillError:
            self._drop_first()
            raise

    def _drop_first(self) -> None:
        message = self._remove_first()
        self._lose(message)

    def _remove_first(self) -> Message:
        message = self.waiting.popleft()
        self._at = 0
        if message.body is not None:
            self.held -= message.length
        self.run.undelivered.used -= message.left
        self.run.store.undelivered.used -= message.left
        return message

    def _begin_again(self) -> None:
        """Whoever comes next gets the message from its first byte that this one had a part of."""
        at, self._at = self._at, 0
        if at and isinstance(self.waiting[0], MessageFile):
            try:
                self._start(self.waiting[0], self.run.store.spill.boundary(self.waiting[0], at))
            except SpillError:
                self._drop_first()

    def _start(self, message: Message, start: int) -> None:
        if isinstance(message, MessageFile):
            change = message.start - start
            self.run.undelivered.used += change
            self.run.store.undelivered.used += change
            message.start = start

    def _shipped(self, message: Message) -> None:
        self._remove_first()
        if isinstance(message, MessageFile):
            message.start = 0
        if self.run.job:
            self.delivered.append(message)
            self.run.retain(message, self)
        else:
            self.run.store.release(message)

    def _lose(self, message: Message) -> None:
        for task, attempt in message.origins:
            self.gone[task] = max(attempt, self.gone.get(task, 0))
        self.run.store.release(message)
