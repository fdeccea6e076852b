"""One end of a pipe is a FIFO in the worker's directory, of which a program has the other side: what both kinds share.

Knows no connection: frames come in, and those to be sent are queued.
"""

from __future__ import annotations

import fcntl
import os
import selectors
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from mu_twisted.wire.pipes import CutPipe, OpenPipe, PipeFrame
from worker_lambda._errors import CommandFailure
from worker_lambda._traffic import Traffic

WINDOW = 256 << 10
"""Bytes that may be under way to this worker, or wait here for its program, of each pipe and each way that it takes."""
LATE = 0.1
"""Seconds between two looks whether a program has opened an end whose other side is gone."""
_KERNEL = 256 << 10
"""Bytes that the kernel is to keep of each FIFO."""

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from worker_lambda.links._paths import DirectPath


class PipeFrames:
    """What is to be sent: to the rendezvous, and on direct paths.

    :param traffic: counts the bytes that pipes carry.
    """

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.relayed: deque[bytes] = deque()
        self.direct: dict[DirectPath, deque[bytes]] = {}

    def say(self, frame: PipeFrame, path: DirectPath | None = None) -> None:
        """Have a frame sent, None: by the rendezvous."""
        queue = self.relayed if path is None else self.direct.setdefault(path, deque())
        queue.append(frame.encode())

    @property
    def unsaid(self) -> set[bytes]:
        """The names of the pipes of which the rendezvous has yet to hear something."""
        return {name_in(frame) for frame in self.relayed}


def name_in(frame: bytes) -> bytes:
    """The name of the pipe that a frame is about."""
    return frame.partition(b"\0")[0].rpartition(b":")[2]


class FifoEnd:
    """One end of a pipe.

    :param frames: takes what is to be sent.
    :param broken: called when the pipe breaks while a program uses it.
    :ivar used: whether a run has begun with it; ``running``: whether that goes on.
    :ivar over: whether nothing more is to come or to be sent.
    :ivar error: why it is broken, if it is.
    :ivar path: the direct path that its bytes take, or are to take from some byte on.
    """

    def __init__(
        self, opened: OpenPipe, selector: selectors.BaseSelector, frames: PipeFrames, broken: Callable[[], object]
    ) -> None:
        self.opened = opened
        self.used = self.running = self.over = False
        self.error: str | None = None
        self.path: DirectPath | None = None
        self.next_look: float | None = None
        self._selector = selector
        self._frames = frames
        self._broken = broken
        self._path = b""
        self._descriptor: int | None = None
        self._events = 0

    @property
    def shown(self) -> str:
        """What it is, for errors."""
        way = "to" if self.opened.writes else "from"
        return f"pipe '{self.opened.name.decode('ascii')}' {way} task {self.opened.peer}"

    def begin(self, path: bytes) -> None:
        """A run begins that names it.

        :param path: of the FIFO, which is made here.
        :raises CommandFailure: it cannot be.
        """
        try:
            os.mkfifo(path, 0o600)
        except OSError as error:
            raise CommandFailure(f"{self.shown}: it cannot be made: {error.strerror}") from None
        self._path = path
        self.used = self.running = True

    def receive(self, frame: PipeFrame, path: DirectPath | None) -> None:
        """Take a frame that is about it.

        :param path: on which it came; None: by the rendezvous.
        """
        raise NotImplementedError

    def path_up(self, path: DirectPath) -> None:
        """There is a direct path to the peer."""

    def path_lost(self) -> None:
        """The path that it uses is gone."""
        raise NotImplementedError

    def ended(self, status: int) -> None:
        """The run's programs have ended."""
        raise NotImplementedError

    def look(self) -> None:
        """It is time to look at what no descriptor reports."""
        raise NotImplementedError

    def fail(self, reason: str, *, cut: bool = False) -> None:
        """It is broken: the program that uses it must not see an end.

        :param cut: whether the peer is to know.
        """
        if self.over:
            return
        self.over, self.error = True, f"{self.shown} broke: {reason}"
        self.next_look = None
        self._watch(0)
        if cut:
            self._say(CutPipe(self.opened.peer, self.opened.name, reason.encode("utf-8", "surrogateescape")))
        if self.running:
            self._broken()  # and only then the descriptor may be closed

    def release(self) -> None:
        """Close the FIFO, and remove it."""
        self._shut()
        self.next_look = None
        if self._path:
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - bytes
            self._path = b""

    # -- for the two kinds -----------------------------------------------------------------------------------------

    def _say(self, frame: PipeFrame, path: DirectPath | None = None) -> None:
        self._frames.say(frame, path)

    def _watch(self, events: int) -> None:
        if self._descriptor is None or events == self._events:
            return
        if not self._events:
            self._selector.register(self._descriptor, events, lambda _: self._moved())
        elif events:
            self._selector.modify(self._descriptor, events, lambda _: self._moved())
        else:
            self._selector.unregister(self._descriptor)
        self._events = events

    def _moved(self) -> None:
        raise NotImplementedError

    def _shut(self) -> None:
        self._watch(0)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def enlarge(descriptor: int) -> None:
    """Let the kernel keep more of a FIFO than the usual 64 KiB: programs and worker wake one another less often."""
    with suppress(OSError):  # the user has many, or it is no Linux
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _KERNEL)


def is_by_signal(status: int) -> bool:
    """Whether a run was ended by a signal, its shell or what that waited for."""
    return status < 0 or status > 128


def ending(status: int) -> bytes:
    """How a run has ended that has failed, as the peer is to know it."""
    how = b"by signal %d" % -status if status < 0 else b"with status %d" % status
    return b"its command has ended " + how
