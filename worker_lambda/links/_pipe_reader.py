"""The reading end of a pipe writes what comes of the peer to the FIFO of a program of this worker, as that takes it.

A FIFO cannot carry an error: so its writing end is kept open until all has come, and the program sees no other end.
"""

from __future__ import annotations

import errno
import os
import selectors
import time
from collections import deque
from collections.abc import Callable

from mu_twisted.wire import PeerError
from mu_twisted.wire.pipes import ClosePipe, CutPipe, EndPipe, MovePipe, OpenPipe, PipeCredit, PipeData, PipeFrame
from worker_lambda.links._pipe_ends import LATE, WINDOW, FifoEnd, PipeFrames, ending, enlarge, is_by_signal

_OPENING = 0.001, 0.05
"""Seconds between two looks whether a program has opened its end: at first, and in the long run."""
_GRACE = 1.0
"""Seconds after a program has closed its end early before its writer is notified: it may be dying, of which more is
known then."""

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from worker_lambda.links._paths import DirectPath


class ReaderEnd(FifoEnd):
    """The end that a program of this worker reads from.

    What comes on a direct path waits until all that was sent before, by the rendezvous, is here.
    """

    def __init__(
        self, opened: OpenPipe, selector: selectors.BaseSelector, frames: PipeFrames, broken: Callable[[], object]
    ) -> None:
        super().__init__(opened, selector, frames, broken)
        self._parts: deque[memoryview] = deque()
        self._waiting = 0
        self._relayed = self._written = self._credited = 0
        self._moves_at: int | None = None
        self._ahead: list[bytes] = []
        self._ends_ahead = False
        self._ended = self._finished = self._closed_early = False
        self._close_at = 0.0
        self._pause = _OPENING[0]

    def begin(self, path: bytes) -> None:
        super().begin(path)
        self._say(PipeCredit(self.opened.peer, WINDOW, self.opened.name))
        self.next_look = time.monotonic()

    def path_up(self, path: DirectPath) -> None:
        if self.used and not self.over and self.path is None:
            self.path = path
            self._say(PipeCredit(self.opened.peer, WINDOW, self.opened.name), path)

    def path_lost(self) -> None:
        if self._moves_at is not None:
            self.fail("the direct connection was lost", cut=True)
        self.path = None  # what has not moved goes on; a writer that has moved says that it broke

    def receive(self, frame: PipeFrame, path: DirectPath | None) -> None:
        if path is not None and path is not self.path:
            raise PeerError(f"{self.shown}: bytes came on a path on which there was no credit")
        match frame:
            case MovePipe() if path is not None and self._moves_at is None and frame.offset >= self._relayed:
                self._moves_at, self._credited = frame.offset, 0
            case PipeData() if path is not None and self._moves_at is not None:
                self._ahead.append(frame.part)
            case EndPipe() if path is not None and self._moves_at is not None:
                self._ends_ahead = True
            case PipeData() if path is None and self._relayed + len(frame.part) <= self._most_relayed:
                self._relayed += len(frame.part)
                self._add(frame.part)
            case EndPipe() if path is None and self._moves_at is None:
                self._end()
            case _:
                raise PeerError(f"{self.shown}: {type(frame).__name__} is out of place")
        if self._relayed == self._moves_at:
            for part in self._ahead:
                self._add(part)
            self._ahead.clear()
            if self._ends_ahead and not self.over:
                self._end()
        if self._waiting + sum(map(len, self._ahead)) > 2 * WINDOW:
            raise PeerError(f"{self.shown}: more came than there was credit for")
        self._moved()

    @property
    def _most_relayed(self) -> int:
        return 1 << 62 if self._moves_at is None else self._moves_at

    def _add(self, part: bytes) -> None:
        if not self._closed_early:
            self._frames.traffic.add(received=len(part))
            self._waiting += len(part)
            self._parts.append(memoryview(part))

    def _end(self) -> None:
        self._ended = self.over = True
        self._say(ClosePipe(self.opened.peer, self.opened.name))

    def ended(self, status: int) -> None:
        self.running = False
        self.next_look = None
        if not self.over and is_by_signal(status):
            # It has failed, and not had enough: the writer is to begin again with it, and not to fail of SIGPIPE.
            self.over = True
            self._say(CutPipe(self.opened.peer, self.opened.name, ending(status)))
        self._close()

    def look(self) -> None:
        now = time.monotonic()
        if self._closed_early and now >= self._close_at:
            self._close()
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:
                self._fail_used(f"it cannot be opened: {error.strerror}")
                return
            pause = LATE if self._finished else self._pause
            self._pause = min(2 * self._pause, _OPENING[1])
            self.next_look = now + pause
            return
        if not self._finished:
            self._descriptor = descriptor
            enlarge(descriptor)
            self.next_look = None
            self._moved()
            return
        self.next_look = now + LATE
        if self._closed_early:
            self._fail_used("it was opened again after it had been closed")
        os.close(descriptor)  # with which it is at its end, for who has opened it again, too

    def _fail_used(self, reason: str) -> None:
        self.over = False
        self.fail(reason, cut=not self._ended)

    def _moved(self) -> None:
        if self._descriptor is None:
            return
        try:
            while self._parts:
                part = self._parts[0]
                count = os.write(self._descriptor, part)
                self._waiting -= count
                self._written += count
                if count < len(part):
                    self._parts[0] = part[count:]
                    break
                self._parts.popleft()
        except BlockingIOError:
            pass
        except OSError:  # the program has closed it
            self._drop()
            self._closed_early = True
            self._close_at = time.monotonic() + _GRACE
            self._finish()
            return
        self._give_credit()
        if self._parts:
            self._watch(selectors.EVENT_WRITE)
            return
        self._watch(0)
        if self._ended:
            self._shut()
            self._finish()

    def _give_credit(self) -> None:
        """The writer may send as much as was taken; of bytes that came by the rendezvous, as long as more may."""
        moved = self._moves_at is not None
        more = self._written - (self._moves_at or 0) - self._credited
        if more >= WINDOW // 4 and not self.over:
            self._credited += more
            self._say(PipeCredit(self.opened.peer, more, self.opened.name), self.path if moved else None)

    def _finish(self) -> None:
        """The program has had its end, or has closed it: one that opens it again is not to wait for ever."""
        self._finished = True
        self.next_look = time.monotonic() + LATE if self.running else None

    def _close(self) -> None:
        """Nothing of it is read any more."""
        self._drop()
        if not self.over:
            self.over = True
            self._say(ClosePipe(self.opened.peer, self.opened.name))

    def _drop(self) -> None:
        self._shut()
        self._parts.clear()
        self._waiting = 0
