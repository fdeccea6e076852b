"""What one job's named messages take of memory and disk is held here. Knows no connections.

Small messages are in memory until it is short, and then in files of many; a larger one has a file from its first byte.
All count against the job's limit and that of the disk, taken ones too, and these are removed, the oldest first, where
others need the room.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from mu_twisted.rendezvous._errors import Full
from mu_twisted.rendezvous._message import Account
from mu_twisted.rendezvous._message_store import MessageStore
from mu_twisted.rendezvous._named_message import Carried, NamedFile, NamedMessage, NamedStream
from mu_twisted.rendezvous._spill import BUNDLE, BUNDLED, SpillError

SMALL_MESSAGE = 64 << 10
"""Bytes of a message that may wait in memory."""
CARRIED_BYTES, CARRIED_MESSAGES = 256 << 10, 32
"""So much room there must be for streams to be carried: near a limit each message is decided about here. It is made
where it is no more than a part of the limit.
"""
_PART = 1 / 16


class NamedStorage:
    """One job's share of the store.

    :param label: the job's name, for errors.
    :param store: what all jobs share.
    :param directory: for its files; made with the first of them.
    :ivar used: bytes of all messages, by the length that was announced.
    :ivar carried: streams that have messages in the transport's core, or may have; the first of them is the next from
        which messages are taken where room is needed.
    """

    def __init__(self, label: str, store: MessageStore, directory: Path) -> None:
        self.used = Account(store.limits.links)
        self._label = label
        self._store = store
        self._directory = directory
        self._in_memory: OrderedDict[NamedMessage, None] = OrderedDict()
        self._taken: OrderedDict[NamedMessage, None] = OrderedDict()
        self._taken_bytes = 0
        self.carried: OrderedDict[Carried, None] = OrderedDict()
        self._carried_bytes = self._carried_messages = 0

    def limit(self, limits: Mapping[str, int]) -> None:
        """Set what a coordinator allows this job, as far as the rendezvous allows it.

        :param limits: ``links``, bytes; other names are ignored.
        """
        ours = self._store.limits.links
        self.used.limit = min(limits.get("links", ours), ours)
        while self.used.free < 0 and (self._taken or self.carried):
            self.forget_oldest()

    def count(self) -> None:
        """Count one more message or stream.

        :raises Full: there are too many.
        """
        named = self._store.named
        if not self._store.make_named_room(1):
            raise Full(f"there are {named.used} named messages already, that is the limit of the rendezvous")
        named.used += 1

    def uncount(self) -> None:
        """Count one less."""
        self._store.named.used -= 1

    def reserve(self, message: NamedMessage) -> None:
        """Take the room of a message that begins, all of it.

        :raises Full: there is none, however many messages that were taken are removed.
        """
        store, length = self._store, message.length
        if self.used.free + self._taken_bytes >= length and not store.disk_needed:
            while self.used.free < length and (self._taken or self.carried):
                self.forget_oldest()
            if self.used.free >= length and store.make_disk_room(length):
                self.count()
                self.used.used += length
                store.stored.used += length
                return
        raise Full(
            f"a message of {length} bytes finds no room at the rendezvous: job {self._label} has {self.used.used} "
            f"bytes of named messages there, its limit is {self.used.limit}, that of all jobs {store.stored.limit}"
        )

    def append(self, message: NamedMessage, part: bytes) -> None:
        """Store the next bytes of a message.

        :raises SpillError: the disk does not take them, even without the messages that were taken.
        """
        if message.length <= SMALL_MESSAGE:
            self._keep_in_memory(message, part)
            return
        if message.file is None:
            message.file = NamedFile(self._store.spill.new_path(self._directory), message.length, 1)
        while True:
            try:
                self._store.spill.put(message.file.path, message.arrived, (part,))
            except SpillError as error:
                if not self._store.taken:
                    self._store.disk_failed(error)
                    raise
                next(iter(self._store.taken.values())).forget_oldest()
            else:
                self._store.broken = False
                message.arrived += len(part)
                return

    def read(self, message: NamedMessage, offset: int, count: int) -> bytes:
        """Bytes of a message that have arrived.

        :param offset: of the first.
        :param count: how many at most.
        :raises SpillError: they cannot be read any more.
        """
        count = min(count, message.arrived - offset)
        if message.file is not None and count:
            return self._store.spill.get(message.file.path, message.start + offset, count)
        body = message.body or b""
        return body if count == len(body) else body[offset : offset + count]

    def may_carry(self) -> bool:
        """Have room for another stream to be carried; returns whether there is."""
        store = self._store
        self._make_carried_room()
        room = min(self.used.free, store.stored.free)
        return room >= CARRIED_BYTES and store.named.free >= CARRIED_MESSAGES and not store.broken

    def room(self, size: int) -> tuple[int, int]:
        """What carried streams may take.

        :param size: bytes that have come for them: so much memory is made free, if it can be.
        :returns: bytes of messages, and how many of them.
        """
        store = self._store
        self._make_carried_room()
        if store.memory.free < size:
            store.make_room(size)
        return min(self.used.free, store.stored.free, store.memory.free), store.named.free

    def carry(self, stream: Carried) -> None:
        """Know a stream that is carried from now on, whose room is had by :meth:`forget_oldest`."""
        self.carried[stream] = None
        self._store.taken.setdefault(self, self)

    def count_carried(self, messages: int, size: int, acknowledged: int) -> None:
        """Count what has become of carried streams.

        :param messages: that have come; ``size``: bytes of them.
        :param acknowledged: bytes of messages.
        """
        store = self._store
        store.named.used += messages
        store.memory.used += size
        store.stored.used += size
        self.used.used += size
        self._carried_messages += messages
        self._carried_bytes += size
        self._taken_bytes += acknowledged
        if self._carried_bytes:
            store.idle[self] = None

    def take_over(self, message: NamedMessage, body: bytes, *, acknowledged: bool) -> None:
        """Have a message that was in the core, and is counted."""
        self._carried_messages -= 1
        self._carried_bytes -= len(body)
        message.body = body
        message.arrived = len(body)
        if body:
            self._in_memory[message] = None
        if acknowledged:
            message.taken = True
            self._taken[message] = None
            self._store.taken[message] = self

    def release(self, message: NamedMessage) -> None:
        """Free what a message takes, which is of no more use."""
        self.use(message)
        message.uses -= 1
        self.uncount()
        file = message.file
        if file is None:
            self._give_back(message.length)
            if self._in_memory.pop(message, message) is None:
                self._store.memory.used -= message.length
                self._idle_no_more()
            return
        file.messages -= 1
        if not file.messages:
            self._store.spill.remove(file.path)
            self._give_back(file.length)

    def use(self, message: NamedMessage) -> None:
        """Begin to deliver or compare a message: until :meth:`disuse` it is not removed."""
        message.uses += 1
        if message in self._taken:
            del self._taken[message]
            del self._store.taken[message]
            self._taken_bytes -= message.length

    def disuse(self, message: NamedMessage) -> None:
        """End one use; what was taken may be removed from now on, if room is needed."""
        message.uses -= 1
        kept = message.stream.stored.get(message.number) is message
        if kept and message.taken and not message.uses:
            self._taken[message] = None
            self._store.taken[message] = self
            self._taken_bytes += message.length

    def clear(self, streams: Iterable[NamedStream]) -> None:
        """Forget all messages. Their files are removed with their directory.

        :param streams: the job's.
        """
        store = self._store
        for stream in streams:
            if stream.carried is not None:
                stream.carried.drop()
            store.named.used -= 1 + len(stream.stored) + len(stream.arriving) + len(stream.gone)
            for number in stream.gone:
                del store.gone[stream, number]
        for message in self._taken:
            del store.taken[message]
        store.taken.pop(self, None)
        store.named.used -= self._carried_messages
        store.memory.used -= self._carried_bytes + sum(message.length for message in self._in_memory)
        store.stored.used -= self.used.used
        store.idle.pop(self, None)
        self.used.used = self._taken_bytes = self._carried_bytes = self._carried_messages = 0
        self.carried.clear()
        self._in_memory.clear()
        self._taken.clear()

    # -- as the store sees it ------------------------------------------------------------------------------------------

    def spill(self) -> None:
        """Move the oldest messages from memory to disk, as many as one file may have."""
        while self._carried_bytes and not self._in_memory:
            self._take_carried()
        batch: list[NamedMessage] = []
        size = 0
        for message in self._in_memory:
            if batch and (size + message.length > BUNDLE or len(batch) == BUNDLED):
                break
            batch.append(message)
            size += message.length
        if not batch:
            self._store.idle.pop(self, None)
            return
        file = NamedFile(self._store.spill.new_path(self._directory), size, len(batch))
        try:
            self._store.spill.put(file.path, 0, (message.body or b"" for message in batch))
        except SpillError as error:
            self._store.spill.remove(file.path)
            self._store.disk_failed(error)
            self._store.idle.pop(self, None)
            return
        self._store.broken = False
        start = 0
        for message in batch:
            message.file, message.start, message.body = file, start, None
            start += message.length
            del self._in_memory[message]
        self._store.memory.used -= size
        self._idle_no_more()

    def forget_oldest(self) -> None:
        """Remove the message that was taken first, and remember what it was."""
        if not self._taken or next(iter(self._store.taken)) is self:
            self._take_carried()
        if self._taken:
            self.lose(next(iter(self._taken)))
        elif not self.carried:
            self._store.taken.pop(self, None)

    def lose(self, message: NamedMessage) -> None:
        """Remove a complete message, and remember what it was."""
        stream = message.stream
        del stream.stored[message.number]
        self.release(message)
        self._store.named.used += 1
        stream.gone[message.number] = message.attempt, message.digest or b""
        self._store.gone[stream, message.number] = None

    def remember(self, stream: NamedStream, number: int, attempt: int, digest: bytes) -> None:
        """Remember a message that was taken and is not here.

        :raises Full: there are too many.
        """
        self.remember_no_more(stream, number)
        self.count()
        stream.gone[number] = attempt, digest
        self._store.gone[stream, number] = None

    def remember_no_more(self, stream: NamedStream, number: int) -> None:
        """Forget that a message was removed, as it is here again."""
        if stream.gone.pop(number, None) is not None:
            del self._store.gone[stream, number]
            self.uncount()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _keep_in_memory(self, message: NamedMessage, part: bytes) -> None:
        store = self._store
        message.body = part
        message.arrived = len(part)
        if part:
            self._in_memory[message] = None
            store.memory.used += len(part)
            store.idle[self] = None
            if store.memory.free < 0:
                store.make_room(0)

    def _make_carried_room(self) -> None:
        """Remove what was taken first, here and elsewhere, where carried streams need the room."""
        store = self._store
        if _PART * self.used.limit >= CARRIED_BYTES:
            while self.used.free < CARRIED_BYTES and self._taken_bytes and (self._taken or self.carried):
                self.forget_oldest()
        if _PART * store.stored.limit >= CARRIED_BYTES:
            store.make_disk_room(CARRIED_BYTES)
        if _PART * store.named.limit >= CARRIED_MESSAGES:
            store.make_named_room(CARRIED_MESSAGES)

    def _take_carried(self) -> None:
        """Take messages out of the core, as many as a file may have, of one stream after the other."""
        size, messages = self._carried_bytes - BUNDLE, self._carried_messages - BUNDLED
        for carried in list(islice(self.carried, BUNDLED)):
            if carried.relieve():
                self.carried.move_to_end(carried)
            else:
                carried.settle()
            if self._carried_bytes < size or self._carried_messages < messages:
                break
        if self in self._store.taken:
            self._store.taken.move_to_end(self)  # what stays in the core has come later

    def _idle_no_more(self) -> None:
        if not self._in_memory and not self._carried_bytes:
            self._store.idle.pop(self, None)

    def _give_back(self, length: int) -> None:
        self.used.used -= length
        self._store.stored.used -= length
