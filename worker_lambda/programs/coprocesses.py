"""Coprocesses are programs that stay, and are spoken to line by line by their pipes: one line in, one line out.

One that belongs to a task ends with it; one that is kept stays until the worker ends, so that the next task of the job
finds it as it is. A coprocess that is late, says what it was not asked for, or ends, is killed: its next answers would
be those to other questions. Knows no connection: replies go out by a call.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from worker_lambda._errors import CommandFailure
from worker_lambda._template import MAX_QUESTION
from worker_lambda.programs import _processes
from worker_lambda.programs._processes import MARK
from worker_lambda.programs.program import Tail

MAX_COPROCESSES = 16
"""Of a worker."""
MAX_LINE = 1 << 20
"""Bytes of an answer."""
MAX_WAITING = 1024
"""Questions to one coprocess that wait for the one before, and their bytes."""
MAX_WAITING_BYTES = MAX_QUESTION
_READ = 64 << 10
_CHUNKS = 16
_NOISE = 4 << 10
"""Bytes of its standard error that are kept."""
_SHOWN = 300

Answered = Callable[[bytes | None, str], None]
"""Takes the answer; or None, and what went wrong."""


class Coprocess:
    """One program.

    :param command: for ``/bin/sh -c``.
    :param directory: where it runs.
    :param kept: whether it outlives its task.
    :raises CommandFailure: it cannot be started.
    :ivar fault: what it has ended of; empty as long as it runs.
    :ivar greeting: its first line, if that was waited for.
    """

    def __init__(
        self, name: str, command: bytes, directory: Path, selector: selectors.BaseSelector, *, kept: bool
    ) -> None:
        self.name = name
        self.command = command
        self.kept = kept
        self.fault = ""
        self.greeting: bytes | None = None
        self._selector = selector
        self._mark = os.urandom(12).hex()
        self._waiting: deque[tuple[bytes, float, Answered]] = deque()
        self._waiting_bytes = 0
        self._current: Answered | None = None
        self._deadline: float | None = None
        self._unsent = b""
        self._said = bytearray()
        self._noise = Tail(_NOISE)
        try:
            self._process = subprocess.Popen(
                [b"/bin/sh", b"-c", command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env={**os.environ, MARK: self._mark},
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise CommandFailure(f"could not start the process: {error.strerror}") from None
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._in, self._out, self._err = (pipe.fileno() if pipe is not None else -1 for pipe in pipes)
        for each in (self._in, self._out, self._err):
            os.set_blocking(each, False)
        self._err_open = True
        selector.register(self._out, selectors.EVENT_READ, lambda _: self._read())
        selector.register(self._err, selectors.EVENT_READ, lambda _: self._read_noise())

    @property
    def busy(self) -> bool:
        """Whether an answer of it is waited for."""
        return self._current is not None or bool(self._waiting)

    def greet(self, seconds: float, answered: Answered) -> None:
        """Wait for its first line."""
        self._current = answered
        self._deadline = time.monotonic() + seconds

    def ask(self, line: bytes, seconds: float, answered: Answered) -> None:
        """Give it a line, when it has answered those before, and wait for its answer.

        :raises CommandFailure: too many wait.
        """
        if self.fault:
            answered(None, self.fault)
            return
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(line) > MAX_WAITING_BYTES:
            raise CommandFailure(f"{MAX_WAITING} questions of {MAX_WAITING_BYTES} bytes wait for it, that is the limit")
        self._waiting.append((line, seconds, answered))
        self._waiting_bytes += len(line)
        self._next()

    def tick(self) -> float | None:
        """Look at the time; return in how many seconds to be called again, None for never."""
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            self.end("did not answer in time")
            return None
        return left

    def end(self, fault: str) -> None:
        """Kill it, and give up what is waited for.

        :param fault: completes a sentence that begins with it.
        """
        if self.fault:
            return
        self._read_noise()
        status = self._process.poll()
        noise = self._noise.value().decode("utf-8", "replace").strip().rpartition("\n")[2][-_SHOWN:]
        ended = "" if status is None else f" (status {status})"
        self.fault = f"the process {self.name} {fault}{ended}{': ' + noise if noise else ''}"
        self._selector.unregister(self._out)
        if self._err_open:
            self._selector.unregister(self._err)
        if self._unsent:
            self._selector.unregister(self._in)
        shells = {self._process.pid} if status is None else set()
        _processes.end(self._mark, shells, (self._out,))
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel; subprocess reaps it later
            self._process.wait(2.0)
        given_up = [] if self._current is None else [self._current]
        given_up += [answered for _, _, answered in self._waiting]
        self._current = self._deadline = None
        self._waiting.clear()
        self._said.clear()
        for answered in given_up:
            answered(None, self.fault)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        line, seconds, self._current = self._waiting.popleft()
        self._waiting_bytes -= len(line)
        self._deadline = time.monotonic() + seconds
        self._unsent = line + b"\n"
        self._selector.register(self._in, selectors.EVENT_WRITE, lambda _: self._write())

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._in, self._unsent[:_READ]) :]
        except BlockingIOError:
            return
        except OSError:
            self.end("reads no more")
            return
        if not self._unsent:
            self._selector.unregister(self._in)

    def _read(self) -> None:
        for _ in range(_CHUNKS):  # not for ever: the loop has other descriptors
            try:
                data = os.read(self._out, _READ)
            except BlockingIOError:
                return
            if not data:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.05)  # its output closes a moment before it can be waited for
                self.end("has ended")
                return
            self._said += data
            self._take()
            if self.fault:
                return

    def _take(self) -> None:
        """Take a line, if there is one; none may come that nothing waits for, not even a part of it."""
        line, newline, rest = self._said.partition(b"\n")
        if self._current is None or (newline and rest) or self._unsent:
            self.end("said what it was not asked for")
        elif len(line) > MAX_LINE:
            self.end(f"answered with more than {MAX_LINE} bytes")
        elif newline:
            self._said.clear()
            answered, self._current, self._deadline = self._current, None, None
            answered(bytes(line), "")
            self._next()

    def _read_noise(self) -> None:
        for _ in range(_CHUNKS):
            if not self._err_open:
                return
            try:
                data = os.read(self._err, _READ)
            except BlockingIOError:
                return
            if not data:
                self._err_open = False
                self._selector.unregister(self._err)
                return
            self._noise.add(data)


class Coprocesses:
    """The coprocesses of one worker.

    :param selector: the loop's.
    :param directory: where they run.
    """

    def __init__(self, selector: selectors.BaseSelector, directory: Path) -> None:
        self._selector = selector
        self._directory = directory
        self._named: dict[str, Coprocess] = {}

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for."""
        return any(one.busy for one in self._named.values())

    def begin(self, name: str, command: bytes, seconds: float, answered: Answered, *, kept: bool) -> None:
        """Start a coprocess, where it does not run already.

        :param seconds: for which its first line is waited for; 0: it is not.
        :param answered: takes that line, an empty one where there is none.
        :raises CommandFailure: another runs by this name, or there are too many, or it cannot be started.
        """
        one = self._named.get(name)
        if one is not None and not one.fault:
            if one.command != command or one.kept != kept:
                raise CommandFailure(f"another process runs by the name {name}", "BadCommand")
            answered(one.greeting or b"", "")
            return
        alive = sum(not each.fault for each in self._named.values())
        if alive >= MAX_COPROCESSES:
            raise CommandFailure(f"{MAX_COPROCESSES} processes run, that is the limit", "BadCommand")
        self._named = {each.name: each for each in self._named.values() if not each.fault}
        one = self._named[name] = Coprocess(name, command, self._directory, self._selector, kept=kept)
        if not seconds:
            answered(b"", "")
            return

        def greeted(line: bytes | None, fault: str) -> None:
            one.greeting = line
            answered(line, fault)

        one.greet(seconds, greeted)

    def ask(self, name: str, line: bytes, seconds: float, answered: Answered) -> None:
        """Ask one, see :meth:`Coprocess.ask`.

        :raises CommandFailure: there is none, or too much waits for it.
        """
        self._find(name).ask(line, seconds, answered)

    def end(self, name: str) -> None:
        """End one; what is asked of it is given up.

        :raises CommandFailure: there is none.
        """
        self._find(name).end("was ended")
        del self._named[name]

    def kill(self) -> None:
        """End those that are the task's, and those that are at work."""
        for one in list(self._named.values()):
            if not one.kept or one.busy:
                one.end("was killed")

    def drop(self) -> None:
        """The task has ended: those that are kept, and have nothing to answer, stay."""
        self.kill()
        self._named = {each.name: each for each in self._named.values() if not each.fault}

    def close(self) -> None:
        """End all."""
        for one in list(self._named.values()):
            one.end("was ended with its worker")
        self._named.clear()

    def tick(self) -> float | None:
        """Look at the time; return in how many seconds to be called again, None for never."""
        waits = [wait for one in list(self._named.values()) if (wait := one.tick()) is not None]
        return min(waits) if waits else None

    def _find(self, name: str) -> Coprocess:
        one = self._named.get(name)
        if one is None:
            raise CommandFailure(f"no process runs by the name {name}", "BadCommand")
        return one
