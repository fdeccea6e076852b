"""A mailbox holds messages, several in a row in one buffer or one file, as the frames that they came in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mu_twisted.rendezvous._limits import OVERHEAD
from mu_twisted.transport import Bundle
from mu_twisted.wire import HEADER_SIZE

Frames = Bundle | bytes
"""Whole frames in a row: those of one read, in the core's memory or Python's."""
Origins = tuple[tuple[int, int], ...]
"""The tasks that have sent it, each with its attempt; empty in a run of the original's, which has no attempts."""


class Message:
    """Messages in memory that have come together, the frames as they are.

    :param frames: of all of them.
    :param origins: the task and attempt that has sent them.
    :param arrived: when, seconds.
    :ivar length: bytes of the frames.
    :ivar start: bytes at its beginning that have been delivered.
    """

    __slots__ = ("arrived", "frames", "length", "origins", "start")

    def __init__(self, frames: Frames, origins: Origins, arrived: float) -> None:
        self.frames: Frames | None = frames
        self.length = len(frames)
        self.start = 0
        self.origins = origins
        self.arrived = arrived

    @property
    def left(self) -> int:
        """Bytes that are yet to be delivered."""
        return self.length - self.start

    @property
    def memory(self) -> int:
        """Bytes that it holds of the memory for messages."""
        return OVERHEAD + (0 if self.frames is None else self.length)


class MessageFile(Message):
    """Messages in a file, as frames.

    :param path: the file, which holds nothing else.
    :param length: of the file, bytes.
    """

    __slots__ = ("path",)

    def __init__(self, path: Path, length: int, origins: Origins, arrived: float) -> None:
        self.frames = None
        self.path = path
        self.start = 0
        self.length = length
        self.origins = origins
        self.arrived = arrived


def each_frame(frames: Frames) -> Iterator[bytes]:
    """The frames one by one, each with its header."""
    view, at = memoryview(frames), 0
    while at < len(view):
        following = at + HEADER_SIZE + int(bytes(view[at : at + HEADER_SIZE]))
        yield bytes(view[at:following])
        at = following


def boundary(frames: Frames, start: int, offset: int) -> int:
    """The offset of the last frame that begins at this offset or before it.

    :param start: of a frame before it.
    """
    view, begins, following = memoryview(frames), start, start
    while following <= offset:
        begins = following
        following += HEADER_SIZE + int(bytes(view[begins : begins + HEADER_SIZE]))
    return begins


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
