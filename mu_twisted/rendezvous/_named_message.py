"""Named messages form streams: one sender's to one receiver under one name. Knows neither connections nor a disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Carried(Protocol):
    """A stream, as one whose messages the transport's core has, or some of them.

    :ivar is_open: whether the core carries it still.
    """

    @property
    def is_open(self) -> bool: ...

    def relieve(self) -> bool:
        """Have the store take those messages that were acknowledged.

        :returns: whether there were any.
        """

    def settle(self) -> None:
        """Have the stream carried no more, and its messages be the store's."""

    def drop(self) -> None:
        """Forget it with its messages."""


class NamedStream:
    """The messages of one task to another under one name, by their numbers.

    :ivar stored: complete ones, but for those in the core.
    :ivar carried: what it is in the core; None: it is not.
    :ivar last: the largest number that any message had that was not in the core.
    :ivar arriving: those that a connected sender has begun and not ended.
    :ivar gone: of those that were taken and then removed, the attempt that had sent them and their digest.
    :ivar forgotten: all up to this number that are nowhere above are gone too, and this attempt had sent them.
    """

    __slots__ = ("arriving", "carried", "forgotten", "gone", "last", "name", "receiver", "sender", "stored")

    def __init__(self, sender: int, receiver: int, name: bytes) -> None:
        self.sender = sender
        self.receiver = receiver
        self.name = name
        self.stored: dict[int, NamedMessage] = {}
        self.carried: Carried | None = None
        self.last = 0
        self.arriving: dict[int, NamedMessage] = {}
        self.gone: dict[int, tuple[int, bytes]] = {}
        self.forgotten = (0, 0)

    @property
    def kept(self) -> "dict[int, NamedMessage]":
        """Complete ones. Who asks has those in the core settled."""
        if self.carried is not None:
            self.carried.settle()
        return self.stored

    @property
    def unused(self) -> bool:
        """Whether nothing is known of it."""
        return not (self.kept or self.arriving or self.gone or self.forgotten[0])

    def available(self, number: int) -> "NamedMessage | None":
        """The message of this number, if it can be delivered as far as it is there."""
        return self.kept.get(number) or self.arriving.get(number)

    def new(self, number: int) -> bool:
        """Whether nothing is known of the message of this number."""
        known = number in self.kept or number in self.arriving or number in self.gone
        return not known and number > self.forgotten[0]

    def lost(self, number: int) -> int | None:
        """The attempt that had sent the message of this number, if that is gone."""
        if number in self.gone:
            return self.gone[number][0]
        known = number > self.forgotten[0] or self.available(number) is not None
        return None if known else self.forgotten[1]

    def forget(self, number: int) -> None:
        """Remember less of a message that is gone: not its digest."""
        attempt, _ = self.gone.pop(number)
        self.forgotten = max(number, self.forgotten[0]), max(attempt, self.forgotten[1])


@dataclass(eq=False, slots=True)
class NamedFile:
    """A file with one or more messages.

    :param path: where it is.
    :param length: bytes of all of them.
    :param messages: how many of them are of use.
    """

    path: Path
    length: int
    messages: int


class NamedMessage:
    """One message.

    :param attempt: of its sender; the latest that has sent the same.
    :param length: bytes.
    :param order: grows with each message that begins.
    :ivar arrived: bytes that are here.
    :ivar digest: of all bytes; None: it has not been ended.
    :ivar body: its bytes where they are in memory.
    :ivar file: the file that they are in, from ``start`` on.
    :ivar taken: whether a receiver has had all of it.
    :ivar uses: deliveries and comparisons that go on; while there are any it is not removed.
    """

    __slots__ = (
        "arrived",
        "attempt",
        "body",
        "digest",
        "file",
        "length",
        "number",
        "order",
        "start",
        "stream",
        "taken",
        "uses",
    )

    def __init__(self, stream: NamedStream, number: int, attempt: int, length: int, order: int) -> None:
        self.stream = stream
        self.number = number
        self.attempt = attempt
        self.length = length
        self.order = order
        self.arrived = 0
        self.digest: bytes | None = None
        self.body: bytes | None = None
        self.file: NamedFile | None = None
        self.start = 0
        self.taken = False
        self.uses = 0

    @property
    def begun(self) -> bool:
        """Whether its first bytes are here, or it has none."""
        return self.arrived > 0 or not self.length
