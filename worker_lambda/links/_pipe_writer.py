"""The writing end of a pipe reads what a program of this worker writes to its FIFO, as far as it can be sent."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress

from mu_twisted.wire import PeerError
from mu_twisted.wire.pipes import (
    MAX_PIPE_PART,
    ClosePipe,
    CutPipe,
    EndPipe,
    MovePipe,
    OpenPipe,
    PipeCredit,
    PipeData,
    PipeFrame,
)
from worker_lambda.links._pipe_ends import LATE, FifoEnd, PipeFrames, ending, enlarge

_UNSENT = 256 << 10
"""Bytes that have been read from a program and not been sent beyond which no more are read."""
_UNHEARD = 5.0
"""Seconds after a lost direct path within which a reader that has all has said so by the rendezvous."""

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from worker_lambda.links._paths import DirectPath


class WriterEnd(FifoEnd):
    """The end that a program of this worker writes to.

    :ivar unsent: bytes that were read from it and wait to be sent.
    """

    def __init__(
        self, opened: OpenPipe, selector: selectors.BaseSelector, frames: PipeFrames, broken: Callable[[], object]
    ) -> None:
        super().__init__(opened, selector, frames, broken)
        self.unsent = 0
        self._credit = self._sent = 0
        self._finishing = self._has_ended = False

    def begin(self, path: bytes) -> None:
        super().begin(path)
        if self.over:  # the reader has closed it already
            self.next_look = time.monotonic()
            return
        # Both ends: so programs may open and close it as often as they like, and it is the run's end that counts.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        enlarge(self._descriptor)
        self.watch()

    def receive(self, frame: PipeFrame, path: DirectPath | None) -> None:
        match frame:
            case PipeCredit():
                self._take_credit(frame.size, path)
            case ClosePipe():
                # A program that writes on gets SIGPIPE.
                self.over = True
                self._shut()
                if self.running and not self._finishing:
                    self.next_look = time.monotonic()
            case _:
                raise PeerError(f"{self.shown}: a frame for a reader came")

    def ended(self, status: int) -> None:
        self.running = False
        self.next_look = None
        if self.over:
            return
        if status:
            self.over = True
            self._say(CutPipe(self.opened.peer, self.opened.name, ending(status)))
            self._shut()
            return
        # Without the writing end: what the run has left in the background may still write, and then there is an end.
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self.fail(f"it is gone: {error.strerror}", cut=True)
            return
        self._shut()
        self._descriptor = descriptor
        self._finishing = True
        self.watch()

    def path_lost(self) -> None:
        if not self._has_ended:
            self._fail_path()
        else:  # only the reader knows whether all has come
            self.next_look = time.monotonic() + _UNHEARD

    def _take_credit(self, size: int, path: DirectPath | None) -> None:
        """The reader who gives it on a path wants it there: what comes next takes that, and no other any more."""
        if path is not None and self.path is None and not self._has_ended:
            self.path = path
            self._credit = 0
            self._say(MovePipe(self.opened.peer, self._sent, self.opened.name), path)
        if path is self.path:
            self._credit += size
            self.watch()

    def _fail_path(self) -> None:
        self.fail("the direct connection was lost", cut=True)

    def look(self) -> None:
        """Without a reader, let a program that opens it only now get SIGPIPE, and not wait for ever; where all was sent
        on a path that is lost, fail unless the reader has it.
        """
        if self._has_ended:
            self.next_look = None
            self._fail_path()
            return
        self.next_look = time.monotonic() + LATE
        with suppress(OSError):
            os.close(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def watch(self) -> None:
        """Read if what is read can be sent."""
        self._watch(selectors.EVENT_READ if self._may_read else 0)

    @property
    def _may_read(self) -> bool:
        return self._credit > 0 and self.unsent < _UNSENT and not self.over

    def _moved(self) -> None:
        while self._descriptor is not None and self._may_read:
            try:
                part = os.read(self._descriptor, min(self._credit, MAX_PIPE_PART))
            except BlockingIOError:
                break
            if not part:
                if self._finishing:
                    self._has_ended = True
                    self._say(EndPipe(self.opened.peer, self.opened.name), self.path)
                    self._shut()  # it is over when the reader says that it has all
                return
            self._credit -= len(part)
            self._sent += len(part)
            self._frames.traffic.add(sent=len(part))
            self.unsent += len(part)
            self._say(PipeData(self.opened.peer, self.opened.name, part), self.path)
        self.watch()
