"""One mailbox: what was sent to one number of one run, in order. Knows no connections; a reader is any object."""

from collections import deque
from typing import TYPE_CHECKING

from mu_twisted.rendezvous._errors import Full
from mu_twisted.rendezvous._parcel import Bundle, Origins, Parcel
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
        self.waiting: deque[Parcel] = deque()
        self.delivered: deque[Parcel] = deque()
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
        shelf = self.run.shelf
        return self.held > (0 if shelf.short else shelf.limits.window)

    @property
    def eased(self) -> bool:
        """Whether so little waits that more may come."""
        shelf = self.run.shelf
        return self.held <= (0 if shelf.short else shelf.limits.window // 2)

    def put(self, body: bytes, origins: Origins, now: float) -> None:
        """Keep a message.

        :raises Full: the job has as many undelivered ones as may be. A run of the original's is never told; whoever
            feeds it has to look at :attr:`Run.overfull`.
        """
        run, shelf = self.run, self.run.shelf
        parcel = Parcel(body, origins, now)
        if run.job and not run.admits(parcel.length):
            raise Full(
                f"job {run.label} has {run.undelivered.used} bytes of messages that nobody has taken: more than its "
                f"limit of {run.undelivered.limit}, or than the rendezvous can keep of all jobs"
            )
        run.undelivered.used += parcel.length
        shelf.undelivered.used += parcel.length
        shelf.memory.used += parcel.memory
        self.waiting.append(parcel)
        self.held += parcel.length
        if self.reader is None or self.slow:
            shelf.idle[self] = None
            if self.held > shelf.limits.window:
                self.spill()
        if parcel.length >= shelf.limits.giant:
            self.spill()
        if shelf.memory.free < 0 and not shelf.make_room(0):
            self.spill()

    def attach(self, reader: object) -> object | None:
        """A reader comes, and gets what waits from its first byte.

        :returns: the one that was there before.
        """
        before, self.reader = self.reader, reader
        self._begin_again()
        self.slow = False
        self.run.shelf.idle.pop(self, None)
        return before

    def detach(self, reader: object) -> None:
        """A reader has gone. What it has not taken to its end waits on."""
        if self.reader is reader:
            self.reader = None
            self._begin_again()
            if self.held:
                self.run.shelf.idle[self] = None

    def take(self, limit: int) -> bytes | memoryview:
        """The next bytes for the reader, frames as they are; empty if nothing waits.

        :param limit: how many at most, more than a header has.
        :raises SpillError: what was on disk cannot be read any more. It is gone; the reader has a part of it perhaps.
        """
        pieces: list[bytes | memoryview] = []
        room, waiting = limit, self.waiting
        while waiting and room > HEADER_SIZE:
            parcel = waiting[0]
            at = self._at or parcel.start
            if parcel.body is None:
                pieces.append(self._read(parcel, at, room))
                count = len(pieces[-1])
            else:
                count = min(room, parcel.length - at)
                if not at:
                    pieces.append(b"%012d " % len(parcel.body))
                    if count == parcel.length:
                        pieces.append(parcel.body)
                    else:
                        pieces.append(memoryview(parcel.body)[: count - HEADER_SIZE])
                else:
                    start = at - HEADER_SIZE
                    pieces.append(memoryview(parcel.body)[start : start + count])
            room -= count
            self._at = at + count
            if self._at == parcel.length:
                self._shipped(parcel)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def replay(self) -> list[int]:
        """All that is kept waits again, from the first.

        :returns: tasks that have sent what is gone and have not begun again since.
        """
        run, shelf = self.run, self.run.shelf
        self._at = 0
        if self.waiting:
            self._start(self.waiting[0], 0)
        for parcel in reversed(self.delivered):
            run.unretain(parcel)
            run.undelivered.used += parcel.length
            shelf.undelivered.used += parcel.length
            if parcel.body is not None:
                self.held += parcel.length
            self.waiting.appendleft(parcel)
        self.delivered.clear()
        return [task for task, attempt in self.gone.items() if run.attempts.get(task, attempt) <= attempt]

    def forget_oldest(self) -> None:
        """The oldest delivered message goes."""
        parcel = self.delivered.popleft()
        self.run.unretain(parcel)
        self._lose(parcel)

    def expire(self, before: float) -> None:
        """Undelivered messages that arrived before this go; one that the reader has begun to take stays."""
        while self.waiting and not self._at and self.waiting[0].arrived <= before:
            self._drop_first()

    def spill(self) -> None:
        """All that waits in memory goes to disk, in as few files as may be."""
        shelf = self.run.shelf
        kept: deque[Parcel] = deque()
        batch: list[Parcel] = []
        size = 0

        def write() -> None:
            nonlocal batch, size
            bundle = shelf.write(self.run.directory, batch) if batch else None
            if bundle is None:
                kept.extend(batch)
            else:
                kept.append(bundle)
                self.held -= bundle.length
            batch, size = [], 0

        for parcel in self.waiting:
            if parcel.body is None:
                write()
                kept.append(parcel)
                continue
            young = not batch or parcel.arrived - batch[0].arrived <= TOGETHER
            if batch and (size + parcel.length > BUNDLE or len(batch) == BUNDLED or not young):
                write()
            batch.append(parcel)
            size += parcel.length
        write()
        self.waiting = kept
        shelf.idle.pop(self, None)

    def clear(self) -> None:
        """Everything goes, with no trace."""
        while self.waiting:
            self._drop_first()
        while self.delivered:
            self.forget_oldest()
        self.gone.clear()
        self.run.shelf.idle.pop(self, None)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _read(self, parcel: Parcel, at: int, room: int) -> bytes:
        try:
            return self.run.shelf.spill.read(parcel, at, room)  # type: ignore[arg-type]
        except SpillError:
            self._drop_first()
            raise

    def _drop_first(self) -> None:
        parcel = self._remove_first()
        self._lose(parcel)

    def _remove_first(self) -> Parcel:
        parcel = self.waiting.popleft()
        self._at = 0
        if parcel.body is not None:
            self.held -= parcel.length
        self.run.undelivered.used -= parcel.left
        self.run.shelf.undelivered.used -= parcel.left
        return parcel

    def _begin_again(self) -> None:
        """Whoever comes next gets the message from its first byte that this one had a part of."""
        at, self._at = self._at, 0
        if at and isinstance(self.waiting[0], Bundle):
            try:
                self._start(self.waiting[0], self.run.shelf.spill.boundary(self.waiting[0], at))
            except SpillError:
                self._drop_first()

    def _start(self, parcel: Parcel, start: int) -> None:
        if isinstance(parcel, Bundle):
            change = parcel.start - start
            self.run.undelivered.used += change
            self.run.shelf.undelivered.used += change
            parcel.start = start

    def _shipped(self, parcel: Parcel) -> None:
        self._remove_first()
        if isinstance(parcel, Bundle):
            parcel.start = 0
        if self.run.job:
            self.delivered.append(parcel)
            self.run.retain(parcel, self)
        else:
            self.run.shelf.release(parcel)

    def _lose(self, parcel: Parcel) -> None:
        for task, attempt in parcel.origins:
            self.gone[task] = max(attempt, self.gone.get(task, 0))
        self.run.shelf.release(parcel)
