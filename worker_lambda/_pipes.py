"""The pipes of a worker's task: FIFOs in its directory, whose bytes go to and come from programs of other workers.

Knows no connection: frames come in, and those to be sent are asked for. Imported when a task first has pipes. A FIFO
cannot carry an error: so the reading program sees its end only when the writing command has ended with 0; else all
programs of the task are killed before it could.
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from mu_twisted.wire import PeerError
from mu_twisted.wire.pipes import (
    MAX_PIPE_PART,
    MAX_PIPES,
    ClosePipe,
    CutPipe,
    EndPipe,
    MovePipe,
    OpenPipe,
    PipeCredit,
    PipeData,
    PipeFrame,
    check_pipe_name,
)
from worker_lambda._errors import CommandFailure
from worker_lambda._template import MAX_COMMAND_TEXT

WINDOW = 256 << 10
"""Bytes that may be under way to this worker, or wait here for its program, of each pipe."""
_UNSENT = 128 << 10
"""Bytes that have been read from a program and not been sent beyond which no more are read."""
_OPENING = 0.001, 0.05
"""Seconds between two looks whether a program has opened its end: at first, and in the long run."""
_GRACE = 0.3
"""Seconds after a program has closed its end early before its writer is told: it may be dying, of which more is known
then."""
_LATE = 0.1
"""Seconds between two looks whether a program has opened an end that nobody is at any more."""

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from worker_lambda._link_paths import DirectPath

_PLACEHOLDER = re.compile(rb"##PIPE:([A-Za-z0-9._-]{1,64})##")


class _Frames:
    """What is to be sent: to the rendezvous, and on direct paths."""

    def __init__(self) -> None:
        self.relayed: deque[bytes] = deque()
        self.direct: dict[DirectPath, deque[bytes]] = {}

    def say(self, frame: PipeFrame, path: DirectPath | None = None) -> None:
        """Have a frame sent, None: by the rendezvous."""
        queue = self.relayed if path is None else self.direct.setdefault(path, deque())
        queue.append(frame.encode())


class _End:
    """One end of a pipe.

    :param frames: takes what is to be sent.
    :param broken: called when the pipe breaks while a program uses it.
    :ivar used: whether a run has begun with it; ``running``: whether that goes on.
    :ivar over: whether nothing more is to come or to be sent.
    :ivar error: why it is broken, if it is.
    :ivar path: the direct path that its bytes take, or are to take from some byte on.
    """

    def __init__(
        self, opened: OpenPipe, selector: selectors.BaseSelector, frames: _Frames, broken: Callable[[], object]
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
        """It is broken: whoever uses it is not to see an end.

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


class _WriterEnd(_End):
    """The end that a program of this worker writes to.

    :ivar unsent: bytes that were read from it and wait to be sent.
    """

    def __init__(
        self, opened: OpenPipe, selector: selectors.BaseSelector, frames: _Frames, broken: Callable[[], object]
    ) -> None:
        super().__init__(opened, selector, frames, broken)
        self.unsent = 0
        self._credit = self._sent = 0
        self._finishing = self._has_ended = False

    def begin(self, path: bytes) -> None:
        super().begin(path)
        # Both ends: so programs may open and close it as often as they like, and it is the run's end that counts.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
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
            self._say(CutPipe(self.opened.peer, self.opened.name, _ending(status)))
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
        # Where all has been sent, it is the reader who knows if all has come.
        if not self._has_ended:
            self.fail("the direct connection was lost", cut=True)

    def _take_credit(self, size: int, path: DirectPath | None) -> None:
        """The reader who gives it on a path wants it there: what comes next takes that, and no other any more."""
        if path is not None and self.path is None and not self._has_ended:
            self.path = path
            self._credit = 0
            self._say(MovePipe(self.opened.peer, self._sent, self.opened.name), path)
        if path is self.path:
            self._credit += size
            self.watch()

    def look(self) -> None:
        """Nobody reads any more: let a program that opens it only now get SIGPIPE, and not wait for ever."""
        self.next_look = time.monotonic() + _LATE
        with suppress(OSError):
            os.close(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def watch(self) -> None:
        """Read if what is read can be sent."""
        wanted = self._credit > 0 and self.unsent < _UNSENT and not self.over
        self._watch(selectors.EVENT_READ if wanted else 0)

    def _moved(self) -> None:
        if self._descriptor is None or self.over:
            return
        try:
            part = os.read(self._descriptor, min(self._credit, MAX_PIPE_PART))
        except BlockingIOError:
            self.watch()
            return
        if part:
            self._credit -= len(part)
            self._sent += len(part)
            self.unsent += len(part)
            self._say(PipeData(self.opened.peer, self.opened.name, part), self.path)
            self.watch()
        elif self._finishing:
            self._has_ended = True
            self._say(EndPipe(self.opened.peer, self.opened.name), self.path)
            self._shut()  # it is over when the reader says that it has all


class _ReaderEnd(_End):
    """The end that a program of this worker reads from.

    What comes on a direct path waits until all that was sent before, by the rendezvous, is here.
    """

    def __init__(
        self, opened: OpenPipe, selector: selectors.BaseSelector, frames: _Frames, broken: Callable[[], object]
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
            self._waiting += len(part)
            self._parts.append(memoryview(part))

    def _end(self) -> None:
        self._ended = self.over = True
        self._say(ClosePipe(self.opened.peer, self.opened.name))

    def ended(self, status: int) -> None:
        self.running = False
        self.next_look = None
        if not self.over and _is_by_signal(status):
            # It has failed, and not had enough: the writer is to begin again with it, and not to fail of SIGPIPE.
            self.over = True
            self._say(CutPipe(self.opened.peer, self.opened.name, _ending(status)))
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
            pause = _LATE if self._finished else self._pause
            self._pause = min(2 * self._pause, _OPENING[1])
            self.next_look = now + pause
            return
        if not self._finished:
            self._descriptor = descriptor
            self.next_look = None
            self._moved()
            return
        self.next_look = now + _LATE
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
        self.next_look = time.monotonic() + _LATE if self.running else None

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


class PipeRun:
    """The pipes of one run.

    :param ends: that its command names.
    """

    def __init__(self, ends: list[_End]) -> None:
        self._ends = ends
        self._done: Callable[[str | None], None] | None = None

    def ended(self, status: int, done: Callable[[str | None], None]) -> None:
        """Its programs have ended; what they have written is sent on.

        :param done: called when all of that has come to its readers, with what went wrong, None if nothing did.
        """
        self._done = done
        for end in self._ends:
            end.ended(status)
        self.check()

    def abandon(self) -> None:
        """It could not be begun."""
        for end in self._ends:
            end.running = False
            end.fail("its command could not be begun", cut=True)
            end.release()

    @property
    def finishing(self) -> bool:
        """Whether its programs have ended."""
        return self._done is not None

    def check(self) -> bool:
        """Report it if it is over; whether that is so."""
        done = self._done
        error = next((end.error for end in self._ends if end.error is not None), None)
        if done is None or (error is None and not all(end.over for end in self._ends)):
            return False
        self._done = None
        for end in self._ends:
            end.fail("another pipe of the same command broke", cut=True)
            end.release()
        done(error)
        return True


class TaskPipes:
    """All pipes of the worker's task.

    :param selector: the loop's.
    :param directory: the worker's private one.
    :param kill: ends all programs of the task.
    """

    def __init__(self, selector: selectors.BaseSelector, directory: bytes, kill: Callable[[], object]) -> None:
        self._selector = selector
        self._directory = directory
        self._kill = kill
        self._ends: dict[bytes, _End] = {}
        self._runs: list[PipeRun] = []
        self._paths: dict[int, DirectPath] = {}
        self._frames = _Frames()
        self._said = False

    @property
    def active(self) -> bool:
        """Whether a connection is needed."""
        return bool(self._frames.relayed) or any(not end.over for end in self._ends.values())

    @property
    def finishing(self) -> bool:
        """Whether a run waits for what it has written to come to its readers."""
        return any(run.finishing for run in self._runs)

    def declare(self, argument: bytes) -> OpenPipe:
        """``pipe:to:PEER:ATTEMPT:NAME`` or ``pipe:from:...``.

        :returns: what it says.
        :raises CommandFailure: it cannot be.
        """
        parts = argument.split(b":", 3)
        numbers = len(parts) == 4 and all(part.isdigit() and len(part) <= 18 for part in parts[1:3])
        if not numbers or parts[0] not in (b"to", b"from"):
            raise CommandFailure("expected pipe:to:TASK:ATTEMPT:NAME or pipe:from:TASK:ATTEMPT:NAME", "BadCommand")
        try:
            name = check_pipe_name(parts[3].decode("ascii", "replace"))
        except ValueError as error:
            raise CommandFailure(str(error), "BadCommand") from None
        if name in self._ends or len(self._ends) >= MAX_PIPES:
            raise CommandFailure(f"a task has {MAX_PIPES} pipes at most, each with a name of its own", "BadCommand")
        opened = OpenPipe(int(parts[1]), int(parts[2]), name, parts[0] == b"to")
        kind = _WriterEnd if opened.writes else _ReaderEnd
        self._ends[name] = kind(opened, self._selector, self._frames, self._kill)
        if self._said:
            self._frames.say(opened)
        return opened

    def begin(self, command: bytes) -> tuple[bytes, PipeRun]:
        """Make the FIFOs of a run.

        :returns: its command with them in place of ``##PIPE:NAME##``, and what is to be notified of its end.
        :raises CommandFailure: one is not declared, has been used, or is broken.
        """
        names = dict.fromkeys(_PLACEHOLDER.findall(command))
        ends = []
        for name in names:
            end = self._ends.get(name)
            if end is None:
                raise CommandFailure(f"no pipe '{name.decode('ascii')}' is declared for this task", "BadCommand")
            if end.error is not None:
                raise CommandFailure(end.error)
            if end.used:
                raise CommandFailure(f"{end.shown} has been used by another command: a pipe is for one", "BadCommand")
            ends.append(end)
        command = _PLACEHOLDER.sub(lambda found: self._directory + b"/pipe." + found[1], command)
        if len(command) > MAX_COMMAND_TEXT:
            raise CommandFailure(
                f"the command has {len(command)} bytes, a shell takes {MAX_COMMAND_TEXT}", "BadCommand"
            )
        run = PipeRun(ends)
        try:
            for end in ends:
                end.begin(self._directory + b"/pipe." + end.opened.name)
                self._offer(end)
        except (CommandFailure, OSError):
            run.abandon()
            raise
        self._runs.append(run)
        return command, run

    # -- from the connection ---------------------------------------------------------------------------------------

    def connected(self) -> None:
        """A connection is there: say which ends of pipes this task has, and of those that broke with another, that."""
        self._said = True
        waiting: dict[bytes, list[bytes]] = {name: [] for name in self._ends}
        for frame in self._frames.relayed:
            waiting[frame.partition(b"\0")[0].rpartition(b":")[2]].append(frame)
        self._frames.relayed.clear()
        for name, end in self._ends.items():
            if end.error is not None:
                reason = end.error.encode("utf-8", "surrogateescape")
                waiting[name] = [CutPipe(end.opened.peer, name, reason).encode()]
            if waiting[name] or not end.over:
                self._frames.relayed += (end.opened.encode(), *waiting[name])

    def lost(self, reason: str) -> None:
        """The connection is gone, and with it all that is under way."""
        self._said = False
        for end in self._ends.values():
            end.fail(reason)
        self._frames.relayed.clear()

    def path_up(self, path: DirectPath) -> None:
        """There is a direct path."""
        self._paths[path.task] = path
        for end in self._ends.values():
            self._offer(end)

    def path_lost(self, path: DirectPath) -> None:
        """A direct path is gone."""
        self._frames.direct.pop(path, None)
        if self._paths.get(path.task) is path:
            del self._paths[path.task]
        for end in self._ends.values():
            if end.path is path and not end.over:
                end.path_lost()

    def uses(self, path: DirectPath) -> bool:
        """Whether a pipe takes this path."""
        return any(end.path is path and not end.over for end in self._ends.values())

    def received(self, frame: PipeFrame, path: DirectPath | None = None) -> None:
        """Take a frame.

        :param path: on which it came; None: by the rendezvous.
        :raises PeerError: it is out of place.
        """
        end = self._ends.get(frame.name)
        if end is None or end.opened.peer != frame.peer:
            raise PeerError(f"a frame of a pipe that is not open: {frame.name.decode('ascii')}")
        if end.over:
            return  # it was on its way
        if isinstance(frame, CutPipe) and path is None:
            end.fail(frame.reason.decode("utf-8", "replace"))
        else:
            end.receive(frame, path)

    def next_frame(self, path: DirectPath | None = None) -> bytes | None:
        """The next frame for a path, None: for the rendezvous; None if there is none now."""
        frames = self._frames.relayed if path is None else self._frames.direct.get(path)
        if not frames:
            return None
        frame = frames.popleft()
        if frame.startswith(b"PIPE_DATA:"):
            head, _, part = frame.partition(b"\0")
            end = self._ends.get(head.split(b":", 2)[2])
            if isinstance(end, _WriterEnd):
                end.unsent -= len(part)
                end.watch()
        return frame

    # -- from the loop ---------------------------------------------------------------------------------------------

    def step(self) -> float | None:
        """Look at what is due; returns in how many seconds to be called again, None: when something happens."""
        now = time.monotonic()
        waits = []
        for end in self._ends.values():
            if end.next_look is not None and end.next_look <= now:
                end.look()
            if end.next_look is not None:
                waits.append(max(0.0, end.next_look - now))
        self._runs = [run for run in self._runs if not run.check()]
        return min(waits, default=None)

    def kill(self) -> None:
        """Give all up: runs whose programs have ended are reported."""
        for end in self._ends.values():
            end.fail("it was killed", cut=True)
        self.step()

    def close(self) -> None:
        """Give all up, and report nothing."""
        self._runs.clear()
        for end in self._ends.values():
            end.over = True
            end.release()
        self._frames = _Frames()

    def _offer(self, end: _End) -> None:
        """Let a pipe take the direct path to its peer, if there is one, to the attempt that it is for."""
        path = self._paths.get(end.opened.peer)
        if path is not None and path.attempt == end.opened.attempt:
            end.path_up(path)


def _is_by_signal(status: int) -> bool:
    """Whether a run was ended by a signal, its shell or what that waited for."""
    return status < 0 or status > 128


def _ending(status: int) -> bytes:
    how = b"by signal %d" % -status if status < 0 else b"with status %d" % status
    return b"its command has ended " + how
