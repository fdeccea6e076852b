"""Pipes are FIFOs in the directory of a worker's task, whose bytes go to and come from programs of other workers.

Knows no connection: frames come in, and those to be sent are asked for. Imported when a task first has pipes.
"""

from __future__ import annotations

import re
import selectors
import time
from collections.abc import Callable

from mu_twisted.wire import PeerError
from mu_twisted.wire.pipes import MAX_PIPES, CutPipe, OpenPipe, PipeFrame, check_pipe_name
from worker_lambda._errors import CommandFailure
from worker_lambda._template import MAX_COMMAND_TEXT
from worker_lambda._traffic import Traffic
from worker_lambda.links._pipe_ends import FifoEnd, PipeFrames, name_in
from worker_lambda.links._pipe_reader import ReaderEnd
from worker_lambda.links._pipe_writer import WriterEnd

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from worker_lambda.links._paths import DirectPath

_PLACEHOLDER = re.compile(rb"##PIPE:([A-Za-z0-9._-]{1,64})##")


class PipeRun:
    """The pipes of one run.

    :param ends: that its command names.
    :param frames: those of the task's pipes that are to be sent.
    """

    def __init__(self, ends: list[FifoEnd], frames: PipeFrames) -> None:
        self._ends = ends
        self._frames = frames
        self._done: Callable[[str | None], None] | None = None
        self._settled = False

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
        self._settled = True
        for end in self._ends:
            end.running = False
            end.fail("its command could not be begun", cut=True)
            end.release()

    @property
    def finishing(self) -> bool:
        """Whether its programs have ended."""
        return self._done is not None

    @property
    def is_over(self) -> bool:
        """Whether it is to be reported: not before the rendezvous has heard how its pipes have ended, as the task may
        be over then and the worker gone, and the tasks at their other ends would wait for ever."""
        if not self.finishing or any(end.error is not None for end in self._ends):
            return self.finishing
        unsaid = self._frames.unsaid
        return all(end.over and end.opened.name not in unsaid for end in self._ends)

    def check(self) -> bool:
        """Report it if it is over; whether it was reported, or abandoned."""
        done = self._done
        if done is None or not self.is_over:
            return self._settled
        error = next((end.error for end in self._ends if end.error is not None), None)
        self._done, self._settled = None, True
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
    :param traffic: counts bytes.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        directory: bytes,
        kill: Callable[[], object],
        traffic: Traffic | None = None,
    ) -> None:
        self._traffic = traffic or Traffic()
        self._selector = selector
        self._directory = directory
        self._kill = kill
        self._ends: dict[bytes, FifoEnd] = {}
        self._runs: list[PipeRun] = []
        self._paths: dict[int, DirectPath] = {}
        self._frames = PipeFrames(self._traffic)
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
        kind = WriterEnd if opened.writes else ReaderEnd
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
        run = PipeRun(ends, self._frames)
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
            waiting[name_in(frame)].append(frame)
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
        self._fail_all(reason)
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

    @property
    def used(self) -> set[DirectPath]:
        """The direct paths that pipes take."""
        taken = {end.path for end in self._ends.values() if end.path is not None and not end.over}
        return taken.union(path for path, frames in self._frames.direct.items() if frames)

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
            if isinstance(end, WriterEnd):
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

    def due(self, *, room: bool) -> bool:
        """Whether there is something to be sent that can be, or a run to be reported.

        :param room: whether the connection to the rendezvous takes frames.
        """
        direct = any(frames and path.has_room for path, frames in self._frames.direct.items())
        return (room and bool(self._frames.relayed)) or direct or any(run.is_over for run in self._runs)

    def kill(self) -> None:
        """Give all up: runs whose programs have ended are reported."""
        self._fail_all("it was killed", cut=True)
        self.step()

    def close(self) -> None:
        """Give all up, and report nothing."""
        self._runs.clear()
        for end in self._ends.values():
            end.over = True
            end.release()
        self._frames = PipeFrames(self._traffic)

    def _fail_all(self, reason: str, *, cut: bool = False) -> None:
        """Have all ends fail that are not over, or whose end the rendezvous has not heard of."""
        unsaid = self._frames.unsaid
        for name, end in self._ends.items():
            if end.error is None and name in unsaid:
                end.over = False
            end.fail(reason, cut=cut)

    def _offer(self, end: FifoEnd) -> None:
        """Let a pipe take the direct path to its peer, if there is one, to the attempt that it is for."""
        path = self._paths.get(end.opened.peer)
        if path is not None and path.attempt == end.opened.attempt:
            end.path_up(path)
