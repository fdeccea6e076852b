"""Links are the streams of one job's named messages: what senders begin and end, and who waits. Knows no connections.

A session is one connection of a task; of it this knows what :class:`MessageReceiver` says.
"""

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Protocol

from mu_twisted.rendezvous._errors import Full
from mu_twisted.rendezvous._named_message import NamedMessage, NamedStream
from mu_twisted.rendezvous._named_storage import NamedStorage

MAX_MISSING = 10_000
"""Messages of a task that are gone, of which it is known when they are back."""


class MessageReceiver(Protocol):
    """A session, as one that waits for messages.

    :ivar task: whose it is.
    :ivar attempt: of that.
    :ivar outlet: the connection.
    """

    task: int
    attempt: int

    @property
    def outlet(self) -> object: ...

    def begun(self, message: NamedMessage) -> None:
        """A message for its task can be delivered."""

    def grown(self, message: NamedMessage) -> None:
        """More of a message that it is delivering has arrived, or its end."""

    def cut(self, message: NamedMessage) -> None:
        """A message that it may be delivering is being removed, and will not go on."""

    def wants(self, sender: int, name: bytes, number: int) -> bool:
        """Whether its task waits for this message, and nothing of it can be delivered."""

    def ask(self, receiver: int, name: bytes, number: int, attempt: int) -> bool:
        """Have its task send a message that it holds, unless this attempt of the receiver has it.

        :returns: whether it holds it.
        """

    def close(self) -> None:
        """End it: its connection is gone, another has taken its place, or the job is over."""


class Links:
    """What one job has of links.

    :param storage: holds the bytes.
    :param attempts: the latest attempt at each task.
    :ivar receivers: the session of each task that is connected; that of a job that is over has ended.
    :ivar lost: tasks that have sent messages which are wanted and gone; the coordinator is to be notified of them.
    :ivar resent: those of them of whose messages none is gone any more; so is it of these.
    :ivar untracked: tasks of which that is not said, as they have sent something else that is gone.
    """

    def __init__(self, storage: NamedStorage, attempts: Mapping[int, int]) -> None:
        self.storage = storage
        self._attempts = attempts
        self._order = count()
        self.receivers: dict[int, MessageReceiver] = {}
        self.lost: set[int] = set()
        self.resent: set[int] = set()
        self.untracked: set[int] = set()
        self._missing: dict[int, set[tuple[int, bytes, int]]] = {}
        self._streams: dict[tuple[int, bytes], dict[int, NamedStream]] = {}

    def attach(self, task: int, session: MessageReceiver) -> None:
        """Begin a session, in place of any that the task has."""
        before = self.receivers.get(task)
        self.receivers[task] = session
        if before is not None:
            before.close()

    def detach(self, session: MessageReceiver) -> None:
        """End a session whose connection is gone."""
        if self.receivers.get(session.task) is session:
            del self.receivers[session.task]
        session.close()

    def stream(self, sender: int, receiver: int, name: bytes) -> NamedStream | None:
        """A stream of which something is known."""
        return self._streams.get((receiver, name), {}).get(sender)

    def senders(self, receiver: int, name: bytes) -> Iterable[NamedStream]:
        """The streams to one task under one name."""
        return self._streams.get((receiver, name), {}).values()

    def begin(self, sender: int, attempt: int, receiver: int, name: bytes, number: int, length: int) -> NamedMessage:
        """Begin a message, for whose bytes there is room.

        :raises mu_twisted.rendezvous.Full: there is none.
        """
        stream = self._make_stream(sender, receiver, name)
        message = NamedMessage(stream, number, attempt, length, next(self._order))
        try:
            self.storage.reserve(message)
        except Full:
            self._drop_unused(stream)
            raise
        stream.arriving[number] = message
        return message

    def keep(
        self, sender: int, attempt: int, receiver: int, name: bytes, number: int, body: bytes, digest: bytes
    ) -> None:
        """Keep a message that has come whole, and pass it on to a task that waits for it.

        It is as :meth:`begin`, :meth:`append` and :meth:`end`, where nothing is known of such a message.

        :param body: of :data:`~mu_twisted.rendezvous._named_storage.SMALL_MESSAGE` bytes at most.
        :raises mu_twisted.rendezvous.Full: there is no room.
        """
        message = self.begin(sender, attempt, receiver, name, number, len(body))
        stream = message.stream
        del stream.arriving[number]
        stream.kept[number] = message
        message.digest = digest
        self.storage.append(message, body)
        self._is_back(stream, number)
        waits = self.receivers.get(receiver)
        if waits is not None:
            waits.begun(message)

    def append(self, message: NamedMessage, part: bytes) -> None:
        """Store more of a message, and pass it on to a task that waits for it.

        :raises mu_twisted.rendezvous.SpillError: it cannot be stored.
        """
        first = not message.arrived
        self.storage.append(message, part)
        receiver = self.receivers.get(message.stream.receiver)
        if receiver is None:
            return
        if first:
            receiver.begun(message)
        else:
            receiver.grown(message)

    def end(self, message: NamedMessage, digest: bytes) -> bool:
        """End a message whose bytes have all arrived.

        :returns: whether it is safe: it is kept, or was already; else it differs from what its receiver has begun to
            take of an earlier attempt at the sending task.
        """
        stream, number = message.stream, message.number
        kept = stream.kept.get(number)
        if kept is not None and (kept.digest == digest or kept.taken or kept.uses):
            self.drop(message)
            return self.same(kept, message.attempt, digest)
        gone = stream.gone.get(number)
        if gone is not None and gone[1] != digest:
            self.drop(message)
            return False
        self._is_back(stream, number)
        # What is here again of what was taken and removed is not wanted by all means: it may be removed again.
        message.taken = gone is not None or number <= stream.forgotten[0]
        self.storage.remember_no_more(stream, number)
        if kept is not None:
            del stream.kept[number]
            self.storage.release(kept)
        del stream.arriving[number]
        stream.kept[number] = message
        message.digest = digest
        if message.taken:
            self.storage.use(message)
            self.storage.disuse(message)
        receiver = self.receivers.get(stream.receiver)
        if receiver is not None:
            receiver.grown(message)
        return True

    def same(self, kept: NamedMessage, attempt: int, digest: bytes) -> bool:
        """Compare what was sent again with what is kept.

        :param attempt: that has sent it again.
        :returns: whether it is the same.
        """
        if kept.digest != digest:
            return False
        kept.attempt = max(kept.attempt, attempt)
        return True

    def hold(self, sender: int, attempt: int, receiver: int, name: bytes, number: int, digest: bytes) -> bool:
        """Know a message that its sender holds, as one that was taken and is not here.

        :returns: whether it may be: not where an earlier attempt has sent other bytes.
        :raises mu_twisted.rendezvous.Full: there are too many messages.
        """
        stream = self.stream(sender, receiver, name)
        kept = None if stream is None else stream.kept.get(number)
        if kept is not None and (kept.digest == digest or kept.taken or kept.uses):
            return self.same(kept, attempt, digest)
        gone = None if stream is None else stream.gone.get(number)
        if gone is not None and gone[1] != digest:
            return False
        stream = self._make_stream(sender, receiver, name)
        if kept is not None:
            del stream.kept[number]
            self.storage.release(kept)
        try:
            self.storage.remember(stream, number, attempt, digest)
        finally:
            self._drop_unused(stream)
        self._is_back(stream, number)
        return True

    def released(self, sender: int, receiver: int, name: bytes, number: int) -> None:
        """Know that a sender holds a message no longer."""
        stream, session = self.stream(sender, receiver, name), self.receivers.get(receiver)
        if stream is not None and session is not None and session.wants(sender, name, number):
            self.wanted(stream, number)

    def drop(self, message: NamedMessage) -> None:
        """Remove a message that has not been ended: its sender is gone, or has given it up."""
        stream = message.stream
        if stream.arriving.get(message.number) is message:
            del stream.arriving[message.number]
            self._cut(message)
            self.storage.release(message)
            self._drop_unused(stream)

    def lose(self, message: NamedMessage) -> None:
        """Remove a complete message that cannot be read any more."""
        if message.stream.kept.get(message.number) is message:
            self.storage.lose(message)
            self._cut(message)

    def wanted(self, stream: NamedStream, number: int) -> None:
        """Ask the sender for a message that is waited for and gone, if it holds it. Else have the coordinator notified,
        unless the sender has begun anew.
        """
        attempt = stream.lost(number)
        if attempt is None or self._attempts.get(stream.sender, attempt) > attempt:
            return
        sender, receiver = self.receivers.get(stream.sender), self.receivers.get(stream.receiver)
        asker = -1 if receiver is None else receiver.attempt
        if sender is None or not sender.ask(stream.receiver, stream.name, number, asker):
            if stream.sender in self.lost:  # its messages have been counted since the coordinator was last notified
                self._missing.setdefault(stream.sender, set()).add((stream.receiver, stream.name, number))
            else:
                self.lost.add(stream.sender)
                self._missing[stream.sender] = self._gone_of(stream.sender)

    def take_resent(self) -> set[int]:
        """The tasks in :attr:`resent`, which are forgotten."""
        resent, self.resent = self.resent, set()
        return resent

    def take_lost(self) -> set[int]:
        """The tasks in :attr:`lost`, which are forgotten."""
        lost, self.lost = self.lost, set()
        return lost

    def clear(self) -> None:
        """End all sessions and remove everything."""
        for receiver in list(self.receivers.values()):
            receiver.close()
        self.storage.clear(stream for streams in self._streams.values() for stream in streams.values())
        self._streams.clear()
        self._missing.clear()
        self.lost.clear()
        self.resent.clear()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _gone_of(self, sender: int) -> set[tuple[int, bytes, int]]:
        """The messages of a task that are gone, to any task; where they are too many, one that never comes back."""
        found: set[tuple[int, bytes, int]] = set()
        for streams in self._streams.values():
            stream = streams.get(sender)
            if stream is None:
                continue
            if len(found) + len(stream.gone) + stream.forgotten[0] > MAX_MISSING:
                return {(-1, b"", 0)}
            found |= {(stream.receiver, stream.name, number) for number in stream.gone}
            forgotten = range(1, stream.forgotten[0] + 1)
            found |= {
                (stream.receiver, stream.name, number) for number in forgotten if stream.available(number) is None
            }
        return found

    def _is_back(self, stream: NamedStream, number: int) -> None:
        """A message is there, or held by its sender: the last one perhaps of those that were gone."""
        missing = self._missing.get(stream.sender)
        if missing is None:
            return
        missing.discard((stream.receiver, stream.name, number))
        if not missing:
            del self._missing[stream.sender]
            if stream.sender not in self.untracked:
                self.resent.add(stream.sender)

    def _make_stream(self, sender: int, receiver: int, name: bytes) -> NamedStream:
        stream = self.stream(sender, receiver, name)
        if stream is None:
            self.storage.count()
            stream = self._streams.setdefault((receiver, name), {})[sender] = NamedStream(sender, receiver, name)
        return stream

    def _cut(self, message: NamedMessage) -> None:
        receiver = self.receivers.get(message.stream.receiver)
        if receiver is not None:
            receiver.cut(message)

    def _drop_unused(self, stream: NamedStream) -> None:
        streams = self._streams[stream.receiver, stream.name]
        if stream.unused and streams.pop(stream.sender, None) is not None:
            self.storage.uncount()
            if not streams:
                del self._streams[stream.receiver, stream.name]
