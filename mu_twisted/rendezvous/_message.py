"""A mailbox holds messages: one in memory, or several in a row in one file."""

from dataclasses import dataclass
from pathlib import Path

from mu_twisted.rendezvous._limits import OVERHEAD
from mu_twisted.wire import HEADER_SIZE

Origins = tuple[tuple[int, int], ...]
"""The tasks that have sent it, each with its attempt; empty in a run of the original's, which has no attempts."""


class Message:
    """One message in memory.

    :param body: the payload.
    :param origins: the task and attempt that has sent it.
    :param arrived: when, seconds.
    """

    __slots__ = ("arrived", "body", "length", "origins")

    start = 0
    """Bytes at its beginning that have been delivered."""

    def __init__(self, body: bytes, origins: Origins, arrived: float) -> None:
        self.body: bytes | None = body
        self.length = HEADER_SIZE + len(body)
        self.origins = origins
        self.arrived = arrived

    @property
    def left(self) -> int:
        """Bytes that are yet to be delivered."""
        return self.length - self.start

    @property
    def memory(self) -> int:
        """Bytes that it holds of the memory for messages."""
        return OVERHEAD + (0 if self.body is None else self.length)


class MessageFile(Message):
    """Messages in a file, as frames.

    :param path: the file, which holds nothing else.
    :param length: of the file, bytes.
    """

    __slots__ = ("path", "start")

    def __init__(self, path: Path, length: int, origins: Origins, arrived: float) -> None:
        self.body = None
        self.path = path
        self.start = 0
        self.length = length
        self.origins = origins
        self.arrived = arrived


@dataclass
class Account:
    """Counts bytes against a limit.

    :param limit: how many there may be.
    :param used: how many there are.
    """

    limit: int
    used: int = 0

    @property
    def free(self) -> int:
        """What is left; below zero if too many are held."""
        return self.limit - self.used
