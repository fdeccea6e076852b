"""A carried stream is one of named messages that the transport's core delivers and acknowledges by itself.

Its messages stay there until there is any need of them here: a rule of steady streams is broken, one of its ends goes,
or memory is short. Knows of its ends only what :class:`StreamSession` says.
"""

from binascii import unhexlify
from collections.abc import Callable
from typing import Protocol

from mu_twisted.rendezvous._named_message import NamedMessage, NamedStream
from mu_twisted.rendezvous._named_storage import NamedStorage
from mu_twisted.transport import LinkEnd, LinkStream

IRREGULAR = 128
"""Messages after which the core may carry streams again, of a task that has broken one off."""


class StreamSession(Protocol):
    """A session, as an end of such streams.

    :ivar attempt: of its task.
    :ivar link_end: its connection in the core; None: it has ended, or is not there.
    :ivar carried: the streams that it is an end of.
    :ivar irregular: so many messages it is an end of no more of them, as one has been broken off by what it said: to
        carry a stream, and to carry it no more, costs as much as its messages that are on their way.
    """

    attempt: int
    irregular: int
    link_end: LinkEnd | None
    carried: "dict[CarriedStream, None]"

    def take_back(self, message: NamedMessage, *, sent: bool) -> None:
        """Deliver a message that its task waits for, or await the acknowledgement of one that was sent to it."""

    def expect(self, stream: NamedStream, number: int) -> None:
        """Wait for a message that has not come."""


class CarriedStream:
    """One of them, from its beginning until its messages are the store's again.

    :param stream: which it is.
    :param in_core: the same in the core.
    :param sender: its ends.
    :param settled: called with the stream when its messages are the store's.
    """

    __slots__ = ("_attempt", "_in_core", "_receiver", "_sender", "_settled", "_storage", "stream")

    def __init__(
        self,
        stream: NamedStream,
        in_core: LinkStream,
        storage: NamedStorage,
        sender: StreamSession,
        receiver: StreamSession,
        settled: Callable[[NamedStream], None],
    ) -> None:
        self.stream = stream
        self._in_core = in_core
        self._storage = storage
        self._settled = settled
        self._attempt = sender.attempt
        self._sender: StreamSession | None = sender
        self._receiver: StreamSession | None = receiver
        stream.carried = self
        storage.carry(self)
        sender.carried[self] = receiver.carried[self] = None

    @property
    def is_open(self) -> bool:
        """Whether it is carried still."""
        return self._sender is not None

    def want(self, number: int) -> bool:
        """Have its receiver wait for a message.

        :returns: whether it can, here.
        """
        return self._in_core.want(number)

    def relieve(self) -> bool:
        """Have the store take those messages that were acknowledged. It is carried on.

        :returns: whether there were any.
        """
        taken = self._in_core.take(False)
        for number, order, digest, body, *_ in taken:
            self._move(number, order, digest, body, acknowledged=True)
        return bool(taken)

    def settle(self) -> None:
        """Have it carried no more, and its messages be the store's: what is to follow is done here."""
        if self.stream.carried is not self:
            return
        receiver = self._close()
        self.stream.carried = None
        del self._storage.carried[self]
        unfinished = []
        for number, order, digest, body, wanted, sent, acknowledged in self._in_core.take(True):
            message = self._move(number, order, digest, body, acknowledged=acknowledged)
            if wanted and not acknowledged:
                unfinished.append((message, sent))
        if receiver is not None:
            for message, sent in unfinished:
                receiver.take_back(message, sent=sent)
        self._settled(self.stream)

    def end(self) -> None:
        """Have it carried no more, as one of its ends is gone. Its messages stay in the core if none is on its way."""
        if self._receiver is not None and self._receiver.link_end is not None and self._in_core.unfinished:
            self.settle()
        else:
            self._close()
            if not self._in_core.messages:
                self.settle()

    def drop(self) -> None:
        """Forget it with its messages."""
        self._close()
        self.stream.carried = None

    def _close(self) -> StreamSession | None:
        """:returns: its receiver, if that is there still."""
        sender, self._sender = self._sender, None
        receiver, self._receiver = self._receiver, None
        self._in_core.close()
        if sender is None or receiver is None:
            return None  # it was closed before
        for session in sender, receiver:  # they may be one
            session.carried.pop(self, None)
        if receiver.link_end is None:
            return None
        for number in self._in_core.missing():
            receiver.expect(self.stream, number)
        return receiver

    def _move(self, number: int, order: int, digest: bytes, body: bytes, *, acknowledged: bool) -> NamedMessage:
        message = NamedMessage(self.stream, number, self._attempt, len(body), order)
        message.digest = unhexlify(digest)
        self.stream.stored[number] = message
        self.stream.last = max(self.stream.last, number)
        self._storage.take_over(message, body, acknowledged=acknowledged)
        return message
