"""Pipes carry the bytes that a program of one task writes to a program of another, and keep no more than a window.

A session is one connection's ends of pipes: its frames come in, and those for it are asked for. No sockets here. The
two ends of a pipe meet if each names the other with its attempt. The reader's credit is passed on to the writer as far
as the bytes that it is for find room here, so what a slow reader leaves is bounded, whatever either says.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from mu_twisted.rendezvous._link_session import Outlet
from mu_twisted.rendezvous._message import Account
from mu_twisted.wire import PeerError
from mu_twisted.wire.pipes import (
    MAX_CREDIT,
    MAX_PIPES,
    ClosePipe,
    CutPipe,
    EndPipe,
    MovePipe,
    OpenPipe,
    PipeCredit,
    PipeData,
    PipeFrame,
)

WINDOW = 256 << 10
"""Bytes of a pipe that may wait for its reader."""
SMALL_WINDOW = 32 << 10
"""The same where half of the memory for pipes is given away."""
SMALL_PART = 4 << 10
"""Bytes up to which parts of a pipe are put together while they wait."""
MAX_LEFT = 1000
"""Ends of a job that are remembered, of those whose workers have left before they met their peers."""


@dataclass(eq=False, slots=True)
class _PipeSide:
    """One end of a pipe.

    :ivar over: whether its task has no more to say of it, or was sent word of that; the peer may not know yet.
    :ivar closed: whether it has said, as a reader, that it reads no more.
    :ivar credit: to be said to it, as to a writer.
    :ivar parts: to be sent to it, as to a reader.
    :ivar last: to be sent behind these.
    :ivar error: why it was cut, if it was.
    """

    session: "PipeSession"
    opened: OpenPipe
    pipe: "_PairedEnds | None" = None
    over: bool = False
    closed: bool = False
    credit: int = 0
    parts: deque[bytes] = field(default_factory=deque)
    last: bytes | None = None
    error: str = ""


@dataclass(eq=False, slots=True)
class _PairedEnds:
    """Two ends that have met.

    :param window: bytes that may wait here.
    :ivar given: bytes that the reader has given credit for in all; ``said``: those that the writer has heard of.
    :ivar arrived: bytes that have come; ``delivered``: those that have gone.
    """

    writer: _PipeSide
    reader: _PipeSide
    window: int
    given: int = 0
    said: int = 0
    arrived: int = 0
    delivered: int = 0
    ended: bool = False


class Pipes:
    """The pipes of one job.

    :param memory: for the windows of all jobs' pipes.
    """

    def __init__(self, memory: Account) -> None:
        self._memory = memory
        self._ends: dict[tuple[int, bytes], _PipeSide] = {}
        self._left: OrderedDict[tuple[int, bytes], tuple[int, OpenPipe | None]] = OrderedDict()

    def open(self, end: _PipeSide) -> None:
        """One end is there: join it with the other if that is."""
        task, mine, opened = end.session.task, end.session.attempt, end.opened
        self._ends[task, opened.name] = end
        self._left.pop((task, opened.name), None)
        key = opened.peer, opened.name
        other = self._ends.get(key)
        if other is None or other.session.attempt < opened.attempt:
            attempt, closed = self._left.get(key, (-1, None))
            if attempt == opened.attempt and opened.writes and closed == OpenPipe(task, mine, opened.name, False):
                self._say_closed(end)
            elif attempt >= opened.attempt:
                self.cut(end, f"task {opened.peer} has left its end of pipe {_shown(end)} unused")
            return
        if other.session.attempt > opened.attempt:
            self.cut(end, f"task {opened.peer} has begun again, and has another pipe {_shown(end)} since")
            return
        theirs = other.opened
        if (theirs.peer, theirs.writes) != (task, not opened.writes):
            self.cut(end, f"task {opened.peer} has no such end of pipe {_shown(end)}")
        elif other.closed and theirs.attempt == mine:
            self._say_closed(end)
        elif other.over:
            self.cut(end, other.error or f"task {opened.peer} has closed its end of pipe {_shown(end)}")
        elif theirs.attempt == mine:
            self._join(end, other)
        elif theirs.attempt < mine:
            self.cut(other, f"task {task} has begun again, and has another pipe {_shown(end)} since")

    def _join(self, end: _PipeSide, other: _PipeSide) -> None:
        memory = self._memory
        window = WINDOW if memory.free - WINDOW >= memory.limit // 2 else SMALL_WINDOW
        if memory.free < window:
            for one in (end, other):
                self.cut(one, f"the rendezvous has no memory for another pipe: {memory.used} bytes are given to others")
            return
        memory.used += window
        writer, reader = (end, other) if end.opened.writes else (other, end)
        writer.pipe = reader.pipe = _PairedEnds(writer, reader, window, given=reader.credit)
        reader.credit = 0
        self._pass_credit(writer.pipe)

    def give_credit(self, end: _PipeSide, size: int) -> None:
        """The reader can take more.

        :raises PeerError: it gives more than it may.
        """
        pipe = end.pipe
        if end.opened.writes:
            raise PeerError(f"credit came from the writer of pipe {_shown(end)}")
        if (end.credit if pipe is None else pipe.given - pipe.delivered) + size > MAX_CREDIT:
            raise PeerError(f"more credit for pipe {_shown(end)} than the {MAX_CREDIT} bytes that may be given at once")
        if pipe is None:
            end.credit += size  # kept here until the writer is there
        else:
            pipe.given += size
            self._pass_credit(pipe)

    def _pass_credit(self, pipe: _PairedEnds) -> None:
        more = min(pipe.given, pipe.delivered + pipe.window) - pipe.said
        if more > 0 and not pipe.writer.over:
            pipe.said += more
            pipe.writer.credit += more
            pipe.writer.session.wake(pipe.writer)

    def add(self, end: _PipeSide, part: bytes) -> None:
        """Bytes have come.

        :raises PeerError: they are out of place, or more than there was credit for.
        """
        pipe = end.pipe
        if not end.opened.writes or pipe is None or pipe.ended:
            raise PeerError(f"bytes for pipe {_shown(end)}, which takes none")
        pipe.arrived += len(part)
        if pipe.arrived > pipe.said:
            raise PeerError(f"{pipe.arrived} bytes for pipe {_shown(end)}, there was credit for {pipe.said}")
        if pipe.reader.over:
            return
        parts = pipe.reader.parts
        if parts and len(parts[-1]) + len(part) <= SMALL_PART:
            parts[-1] += part  # many small ones would take more memory than they have bytes
        else:
            parts.append(part)
        pipe.reader.session.wake(pipe.reader)

    def delivered(self, end: _PipeSide, size: int) -> None:
        """Bytes have gone to the reader."""
        if end.pipe is not None:
            end.pipe.delivered += size
            self._pass_credit(end.pipe)

    def end(self, end: _PipeSide) -> None:
        """The writer has sent all.

        :raises PeerError: it has said so before, or is none.
        """
        pipe = end.pipe
        if not end.opened.writes or pipe is None or pipe.ended:
            raise PeerError(f"the end of pipe {_shown(end)}, which has none to come")
        pipe.ended = True
        if not pipe.reader.over:
            self._say(pipe.reader, EndPipe(pipe.reader.opened.peer, pipe.reader.opened.name).encode())

    def close(self, end: _PipeSide) -> None:
        """The reader reads no more.

        :raises PeerError: it is no reader.
        """
        if end.opened.writes:
            raise PeerError(f"the writer of pipe {_shown(end)} closed it as a reader does")
        pipe, end.over, end.closed = end.pipe, True, True
        end.parts.clear()
        end.last = None
        if pipe is not None and not pipe.writer.over:
            self._say_closed(pipe.writer)
        self._release(end)

    def cut(self, end: _PipeSide, reason: str, *, notify: bool = True) -> None:
        """The pipe is broken.

        :param notify: whether this end hears of it; else it has said so, or is gone.
        """
        pipe = end.pipe
        end.parts.clear()
        end.last = None
        if notify and not end.over:
            self._say(end, CutPipe(end.opened.peer, end.opened.name, reason.encode("utf-8", "replace")).encode())
        end.over, end.error = True, reason
        self._release(end)
        if pipe is None:
            return
        other = pipe.reader if end is pipe.writer else pipe.writer
        if not other.over:
            self.cut(other, reason)

    def leave(self, end: _PipeSide, reason: str) -> None:
        """The end's connection is gone."""
        if end.pipe is None:
            self._remember(end)
        if not end.over:
            self.cut(end, reason, notify=False)
        key = end.session.task, end.opened.name
        if self._ends.get(key) is end:
            del self._ends[key]

    # -- inside --------------------------------------------------------------------------------------------------------

    def _say(self, end: _PipeSide, last: bytes) -> None:
        end.last = last
        end.session.wake(end)

    def _say_closed(self, writer: _PipeSide) -> None:
        writer.over = True
        self._say(writer, ClosePipe(writer.opened.peer, writer.opened.name).encode())

    def _remember(self, end: _PipeSide) -> None:
        self._left[end.session.task, end.opened.name] = end.session.attempt, end.opened if end.closed else None
        if len(self._left) > MAX_LEFT:
            self._left.popitem(last=False)

    def _release(self, end: _PipeSide) -> None:
        pipe = end.pipe
        if pipe is not None and pipe.window and (pipe.reader.over or pipe.writer is end):
            self._memory.used -= pipe.window
            pipe.window = 0


class PipeSession:
    """One connection's ends of pipes.

    :param pipes: the job's.
    :param task: whose connection it is.
    :param attempt: of that.
    :param outlet: the connection, which is to ask for frames when there are some.
    """

    def __init__(self, pipes: Pipes, task: int, attempt: int, outlet: Outlet) -> None:
        self.task = task
        self.attempt = attempt
        self._pipes = pipes
        self._outlet = outlet
        self._ends: dict[tuple[int, bytes], _PipeSide] = {}
        self._ready: dict[_PipeSide, None] = {}

    def receive(self, frame: PipeFrame) -> None:
        """Take a frame of the task's.

        :raises PeerError: it is out of place, or one too many.
        """
        if isinstance(frame, OpenPipe):
            self._open(frame)
            return
        end = self._ends.get((frame.peer, frame.name))
        if end is None:
            raise PeerError(f"a frame of pipe {frame.name.decode('ascii')}, task {frame.peer}, which is not open")
        if end.over:
            # The peer has closed it, or it was cut; what was on its way then is of no use. A reader closes once.
            if isinstance(frame, ClosePipe) and end.closed:
                raise PeerError(f"pipe {_shown(end)} was closed before")
            return
        match frame:
            case PipeCredit():
                self._pipes.give_credit(end, frame.size)
            case PipeData():
                self._pipes.add(end, frame.part)
            case EndPipe():
                self._pipes.end(end)
            case ClosePipe():
                self._pipes.close(end)
            case MovePipe():
                raise PeerError(f"pipe {_shown(end)} moves to a direct path: the rendezvous is none")
            case CutPipe():
                reason = frame.reason.decode("utf-8", "replace")
                self._pipes.cut(end, reason or f"task {self.task} has cut it", notify=False)

    def next_frame(self) -> bytes | None:
        """The next frame for the task, of each end in turn; None if there is none now."""
        if not self._ready:
            return None
        end = next(iter(self._ready))
        del self._ready[end]
        opened = end.opened
        if end.credit and end.pipe is not None and not end.over:
            frame = PipeCredit(opened.peer, end.credit, opened.name).encode()
            end.credit = 0
        elif end.parts:
            part = end.parts.popleft()
            frame = PipeData(opened.peer, opened.name, part).encode()
            self._pipes.delivered(end, len(part))
        elif end.last is not None:
            frame, end.last = end.last, None
        else:
            return self.next_frame()
        if end.parts or end.last is not None or (end.credit and end.pipe is not None and not end.over):
            self._ready[end] = None  # behind the others
        return frame

    def wake(self, end: _PipeSide) -> None:
        """There is something for an end."""
        self._ready[end] = None
        self._outlet.deliver()

    def close(self) -> None:
        """The connection is gone: so are the pipes."""
        ends, self._ends = list(self._ends.values()), {}
        self._ready.clear()
        for end in ends:
            self._pipes.leave(end, f"task {self.task}, at the other end of pipe {_shown(end)}, is gone")

    def _open(self, frame: OpenPipe) -> None:
        if any(frame.name == name for _, name in self._ends):
            raise PeerError(f"pipe {frame.name.decode('ascii')} of task {self.task} has been opened already")
        if len(self._ends) >= MAX_PIPES:
            raise PeerError(f"{MAX_PIPES} pipes are open: no more may be")
        if frame.peer == self.task:
            raise PeerError(f"pipe {frame.name.decode('ascii')} joins task {self.task} with itself")
        end = self._ends[frame.peer, frame.name] = _PipeSide(self, frame)
        self._pipes.open(end)


def _shown(end: _PipeSide) -> str:
    return repr(end.opened.name.decode("ascii"))
