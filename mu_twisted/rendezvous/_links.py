"""Links are the streams of one job's named messages: what senders begin and end, and who waits. Knows no connections.

A session is one connection of a task; of it this knows what :class:`MessageReceiver` says.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from mu_twisted.rendezvous._carried_stream import IRREGULAR, CarriedStream, StreamSession
from mu_twisted.rendezvous._errors import Full
from mu_twisted.rendezvous._named_message import NamedMessage, NamedStream
from mu_twisted.rendezvous._named_storage import NamedStorage
from mu_twisted.transport import Bundle, FrameProtocol, LinkEnd, LinkStreams

MAX_CARRIED = 1024
"""Streams of one session that are carried at once."""
_AHEAD = 8
"""By so many numbers a carried stream may run ahead, as the core has it."""
MAX_MISSING = 10_000
"""Messages of a task that are gone, of which it is known when they are back."""


class MessageReceiver(StreamSession, Protocol):
    """A session, as one that waits for messages.

    :ivar task: whose it is.
    :ivar outlet: the connection.
    """

    task: int

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

    def may_be_carried(self, name: bytes) -> bool:
        """Whether it may be the end of one more stream of this name that is carried."""

    def wants_of(self, sender: int, name: bytes) -> set[int]:
        """The numbers of messages that its task waits for, of that sender and name."""

    def forget_wants(self, sender: int, name: bytes) -> None:
        """Wait for those no more."""

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
        self._order = 0
        self._in_core: LinkStreams | None = None
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
        message = NamedMessage(stream, number, attempt, length, self._order)
        self._order += 1
        stream.last = max(stream.last, number)
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
        stream.last = max(stream.last, number)
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

    # -- what the core carries -----------------------------------------------------------------------------------------

    def link_end(self, connection: FrameProtocol, task: int) -> LinkEnd | None:
        """The end of carried streams that a task's connection is; None: it cannot be one."""
        made = connection.link_end(self._in_core, task)
        if made is not None:
            self._in_core = made.streams
        return made

    def read(self, end: LinkEnd, bundle: Bundle, at: int, *, carries: bool) -> tuple[bytes | None, int, int, int]:
        """Have the core carry out a bundle's frames, as far as it can, and count what they bring.

        :param at: where the first begins, bytes.
        :param carries: whether any stream of this end is carried.
        :returns: the payload of the first that it cannot carry out, or None; where that begins, and where it ends; and
            bytes of frames that were sent.
        """
        size, messages = self.storage.room(len(bundle) - at) if carries else (0, 0)
        payload, begins, ends, came, came_bytes, acknowledged, sent = end.read(bundle, at, size, messages, self._order)
        if came or acknowledged:
            self._order += came
            self.storage.count_carried(came, came_bytes, acknowledged)
        return payload, begins, ends, sent

    def carry(self, sender: int, receiver: int, name: bytes, number: int) -> bool:
        """Have the core carry a stream whose message of this number is the next that comes, or is waited for.

        :returns: whether it does so from now on.
        """
        one, other = self.receivers.get(sender), self.receivers.get(receiver)
        if one is None or other is None or one.link_end is None or other.link_end is None or self._in_core is None:
            return False
        if one.irregular or other.irregular:
            one.irregular, other.irregular = max(0, one.irregular - 1), max(0, other.irregular - 1)
            return False
        if not (self.storage.may_carry() and one.may_be_carried(name) and other.may_be_carried(name)):
            return False
        stream = self.stream(sender, receiver, name)
        if stream is not None and stream.carried is not None:
            if stream.carried.is_open:
                stream.carried.relieve()  # it may have had as many messages as it can, or as there was room for
                return True
            stream.carried.settle()
            stream = self.stream(sender, receiver, name)
        last = 0 if stream is None else stream.last
        wants = other.wants_of(sender, name)
        following = min(number, min(wants, default=number))
        if following <= last or (stream is not None and stream.arriving):
            return False
        stream = self._make_stream(sender, receiver, name)
        first = last + 1 if following <= last + _AHEAD else following
        in_core = self._in_core.open(one.link_end, other.link_end, name, first)
        if in_core is None:
            self._drop_unused(stream)
            return False
        carried = CarriedStream(stream, in_core, self.storage, one, other, self._drop_unused)
        other.forget_wants(sender, name)
        if all(carried.want(each) for each in sorted(wants)):
            return True
        other.irregular = IRREGULAR  # to try that costs as much as what is waited for
        carried.settle()
        for each in wants:
            other.expect(stream, each)
        return False

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
        streams = self._streams.get((stream.receiver, stream.name), {})
        if stream.unused and streams.pop(stream.sender, None) is not None:
            self.storage.uncount()
            if not streams:
                del self._streams[stream.receiver, stream.name]
