"""A mailbox holds what was sent to one number of one run, in order. It knows no connections: a reader is any object."""

from collections import deque
from collections.abc import Mapping

from mu_twisted.rendezvous._message import Frames, Message, Origins, boundary
from mu_twisted.rendezvous._run_storage import RunStorage
from mu_twisted.rendezvous._spill import BUNDLE, BUNDLED, SpillError

TOGETHER = 5.0
"""Seconds that may lie between the arrivals of a file's messages, since they expire together."""
JOINED = 4096
"""Bytes of messages that are joined where several wait; longer ones are given as they are."""


class Mailbox:
    """Messages that wait, and in a job those that were delivered and are kept.

    :param me: its number.
    :param storage: its run's share of the store.
    :ivar waiting: undelivered messages, the oldest first.
    :ivar delivered: messages that are kept to be delivered again, the oldest first.
    :ivar gone: the highest attempt of each task of which a message was removed undelivered or after its delivery.
    :ivar reader: what takes from it; None: no reader is connected.
    :ivar users: number of connections that read from it or send to it.
    :ivar held: bytes that wait in memory.
    :ivar slow: whether its reader takes too little, so that what waits goes to disk.
    """

    __slots__ = (
        "_offset",
        "_store",
        "_window",
        "delivered",
        "gone",
        "held",
        "me",
        "reader",
        "slow",
        "storage",
        "users",
        "waiting",
    )

    def __init__(self, me: int, storage: RunStorage) -> None:
        self.me = me
        self.storage = storage
        self.waiting: deque[Message] = deque()
        self.delivered: deque[Message] = deque()
        self.gone: dict[int, int] = {}
        self.reader: object | None = None
        self.users = 0
        self.held = 0
        self.slow = False
        self._store = storage.store
        self._window = storage.store.limits.window
        self._offset = 0

    @property
    def mid_message(self) -> bool:
        """Whether the reader has a part of a message, so that nothing else may be sent to it."""
        return self._offset > 0

    @property
    def pressing(self) -> bool:
        """Whether more waits in memory than should."""
        return self.held > (0 if self._store.short else self._window)

    @property
    def eased(self) -> bool:
        """Whether so little waits that more may come."""
        return self.held <= (0 if self._store.short else self._window // 2)

    def put(self, frames: Frames, origins: Origins, now: float) -> None:
        """Store messages that have come together.

        :param frames: theirs.
        :param origins: of which task and attempt they are.
        :param now: when they have arrived, seconds.
        :raises Full: as :meth:`RunStorage.charge`.
        """
        store = self._store
        message = Message(frames, origins, now)
        self.storage.charge(message.length)
        store.memory.used += message.memory
        self.waiting.append(message)
        self.held += message.length
        if self.reader is None or self.slow:
            store.idle[self] = None
            if self.held > self._window:
                self.spill()
        if message.length >= store.limits.large:
            self.spill()
        if store.memory.free < 0 and not store.make_room(0):
            self.spill()

    def passed(self, frames: Frames, origins: Origins, now: float) -> None:
        """Know messages that its reader was sent at once; as :meth:`put`. A job's are kept, as all it has had."""
        if self.storage.job:
            message = Message(frames, origins, now)
            self._store.memory.used += message.memory
            self._keep(message)
            if self._store.memory.free < 0:
                self._store.make_room(0)

    def attach(self, reader: object) -> object | None:
        """Deliver to this reader from now on, what waits from its first byte.

        :returns: the reader that was attached before.
        """
        before, self.reader = self.reader, reader
        self._restart_message()
        self.slow = False
        self._store.idle.pop(self, None)
        return before

    def detach(self, reader: object) -> None:
        """Deliver to this reader no more. A message that it has not taken to its end waits on."""
        if self.reader is reader:
            self.reader = None
            self._restart_message()
            if self.held:
                self._store.idle[self] = None

    def take(self, limit: int) -> bytes | memoryview:
        """The next bytes for the reader, frames as they are; empty if nothing waits.

        :param limit: how many at most.
        :raises SpillError: what was on disk cannot be read any more. It is removed; the reader may have a part of it.
        """
        pieces: list[bytes | memoryview] = []
        left, waiting = limit, self.waiting
        while waiting and left:
            message = waiting[0]
            offset = self._offset or message.start
            count = min(left, message.length - offset)
            if pieces and count > JOINED:
                break
            if message.frames is None:
                pieces.append(self._read(message, offset, count))
                count = len(pieces[-1])
            else:
                pieces.append(memoryview(message.frames)[offset : offset + count])
            left -= count
            self._offset = offset + count
            if self._offset == message.length:
                self._delivered(message)
            if count > JOINED:
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def replay(self, attempts: Mapping[int, int]) -> list[int]:
        """Have all that is kept wait again, from the first.

        :param attempts: the latest of each task.
        :returns: tasks that have sent what is gone and have had no further attempt since.
        """
        self._offset = 0
        if self.waiting:
            self._set_start(self.waiting[0], 0)
        for message in reversed(self.delivered):
            self.storage.unretain(message)
            self.storage.count(message.length)
            if message.frames is not None:
                self.held += message.length
            self.waiting.appendleft(message)
        self.delivered.clear()
        return [task for task, attempt in self.gone.items() if attempts.get(task, attempt) <= attempt]

    def forget_oldest(self) -> None:
        """Remove the oldest delivered message."""
        message = self.delivered.popleft()
        self.storage.unretain(message)
        self._lose(message)

    def expire(self, before: float) -> None:
        """Remove undelivered messages that arrived before this; one that the reader has a part of stays."""
        while self.waiting and not self._offset and self.waiting[0].arrived <= before:
            self._drop_first()

    def spill(self) -> None:
        """Move all that waits in memory to disk, in as few files as may be."""
        store = self._store
        kept: deque[Message] = deque()
        batch: list[Message] = []
        size = 0

        def write() -> None:
            nonlocal batch, size
            bundle = store.write(self.storage.directory, batch) if batch else None
            if bundle is None:
                kept.extend(batch)
            else:
                kept.append(bundle)
                self.held -= bundle.length
            batch, size = [], 0

        for message in self.waiting:
            if message.frames is None:
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
        """Remove everything, and what is known of lost messages."""
        while self.waiting:
            self._drop_first()
        while self.delivered:
            self.forget_oldest()
        self.gone.clear()
        self._store.idle.pop(self, None)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _read(self, message: Message, offset: int, limit: int) -> bytes:
        try:
            return self._store.spill.read(message, offset, limit)  # type: ignore[arg-type]
        except SpillError:
            self._drop_first()
            raise

    def _drop_first(self) -> None:
        message = self._remove_first()
        self._lose(message)

    def _remove_first(self) -> Message:
        message = self.waiting.popleft()
        self._offset = 0
        if message.frames is not None:
            self.held -= message.length
        self.storage.count(-message.left)
        return message

    def _restart_message(self) -> None:
        """Have the next reader get from its first byte the message that this one had a part of."""
        offset, self._offset = self._offset, 0
        if offset:
            message = self.waiting[0]
            try:
                self._set_start(message, self._boundary(message, offset))
            except SpillError:
                self._drop_first()

    def _boundary(self, message: Message, offset: int) -> int:
        if message.frames is not None:
            return boundary(message.frames, message.start, offset)
        return self._store.spill.boundary(message, offset)  # type: ignore[arg-type]

    def _set_start(self, message: Message, start: int) -> None:
        self.storage.count(message.start - start)
        message.start = start

    def _delivered(self, message: Message) -> None:
        self._remove_first()
        message.start = 0
        if self.storage.job:
            self._keep(message)
        else:
            self._store.release(message)

    def _keep(self, message: Message) -> None:
        self.delivered.append(message)
        self.storage.retain(message, self)

    def _lose(self, message: Message) -> None:
        for task, attempt in message.origins:
            self.gone[task] = max(attempt, self.gone.get(task, 0))
        self._store.release(message)
