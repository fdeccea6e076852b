"""Programs and transfers are started, watched and ended here, beside the control connection.

Knows no commands and no connection. Every end is reported by a call in the loop's thread.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from pathlib import Path

from worker_lambda._errors import CommandFailure
from worker_lambda.programs import _processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from worker_lambda.programs._transfers import ThreadedTransfer, TransferThreads
    from worker_lambda.programs.program import Program

MAX_PROGRAMS = 256
MAX_TRANSFERS = 10_000
MAX_CHORES = 4
GRACE = 1.0
"""Seconds after a kill for which the output's end is waited for."""
_POLL = 0.002, 0.05
_POLL_OPEN = 0.5
"""Seconds between two looks at a shell whose output is open: only what it leaves behind depends on them."""
_CHUNKS = 16


class _CommandRun:
    """:ivar open: whether the output is; ``exited``: when the shell was found to have ended before that."""

    def __init__(self, program: Program, finished: Callable[[Program], None]) -> None:
        self.program = program
        self.finished = finished
        self.open = True
        self.exited: float | None = None
        self.pause = _POLL[0]


class CommandRuns:
    """The programs and transfers of one worker.

    :param selector: the loop's; programs' outputs are registered with it, data being the function to call.
    :param directory: where commands run.
    :param background: seconds after a shell's exit for which processes that still hold its output are waited for; None:
        for as long as they do, as the original.
    """

    def __init__(self, selector: selectors.BaseSelector, directory: Path, background: float | None = None) -> None:
        self._selector = selector
        self._directory = directory
        self._background = background
        self._mark = os.urandom(12).hex()
        self._running: list[_CommandRun] = []
        self._left: list[_CommandRun] = []
        """Reported, and their outputs still held: they are read, so that their writers are not ended by it."""
        self._transfers: TransferThreads | None = None
        self._chores: TransferThreads | None = None
        self._marked = False
        self._deadline: float | None = None

    @property
    def active(self) -> int:
        """How many have not been reported."""
        return len(self._running) + (self._transfers.active if self._transfers is not None else 0)

    @property
    def programs(self) -> int:
        """How many programs have not been reported."""
        return len(self._running)

    @property
    def running(self) -> list[Program]:
        """Those programs."""
        return [running.program for running in self._running]

    def run(self, command: bytes, finished: Callable[[Program], None], number: int = 0) -> None:
        """Start a program.

        :param number: of it among those of the task.
        :param finished: is given it when it has exited and its output is closed, or not waited for any longer.
        :raises CommandFailure: it cannot be started.
        """
        if len(self._running) + len(self._left) >= MAX_PROGRAMS:
            raise CommandFailure(f"{MAX_PROGRAMS} programs are running, that is the limit")
        try:
            from worker_lambda.programs.program import Program  # costs, and comes after the greeting
        except (OSError, ImportError) as error:
            raise CommandFailure(f"could not start the command: {_reason(error)}") from None

        program = Program(command, self._directory, self._mark)
        program.number = number
        self._marked = True
        running = _CommandRun(program, finished)
        self._running.append(running)
        self._selector.register(program.output, selectors.EVENT_READ, lambda _: self._read(running))

    def transfer(
        self, work: Callable[[Callable[[], bool]], None], finished: Callable[[str | None], None]
    ) -> ThreadedTransfer:
        """Start a transfer, see :class:`ThreadedTransfer`; ``finished`` is called later than this returns.

        :raises CommandFailure: too many wait already.
        """
        try:
            from worker_lambda.programs._transfers import MAX_THREADS, ThreadedTransfer

            if self._transfers is None:
                self._transfers = self._threads(MAX_THREADS)
        except (OSError, ImportError) as error:
            raise CommandFailure(f"could not start the transfer: {_reason(error)}") from None
        if self._transfers.active >= MAX_TRANSFERS:
            raise CommandFailure(f"{MAX_TRANSFERS} transfers are waiting, that is the limit")
        transfer = ThreadedTransfer(work, finished)
        self._transfers.start(transfer)
        return transfer

    def chore(self, work: Callable[[Callable[[], bool]], None], finished: Callable[[str | None], None]) -> None:
        """Do work beside the loop that belongs to no command: it neither counts as active nor waits behind
        transfers, and is not killed. Where there is no thread to be had it is done at once.

        :param work: see :class:`ThreadedTransfer`; so is ``finished``, which is not called after :meth:`drop`.
        """
        try:
            from worker_lambda.programs._transfers import ThreadedTransfer
        except (OSError, ImportError) as error:
            finished(_reason(error))
            return
        chore = ThreadedTransfer(work, finished)
        try:
            if self._chores is None:
                self._chores = self._threads(MAX_CHORES)
            self._chores.start(chore)
        except (CommandFailure, OSError):
            chore.run()
            finished(chore.error)

    def _threads(self, limit: int) -> TransferThreads:
        from worker_lambda.programs._transfers import TransferThreads

        threads = TransferThreads(limit)
        self._selector.register(threads.wake, selectors.EVENT_READ, lambda _: threads.collect())
        return threads

    def tick(self) -> float | None:
        """Check what no descriptor reports; return in how many seconds to be called again, None for never."""
        overdue = self._deadline is not None and time.monotonic() >= self._deadline
        if not self._running:
            self._deadline = None
        wait = None if self._deadline is None else 0.02
        for running in list(self._running):
            if overdue and running.open:
                self._close(running)
            left = self._held(running) if running.open else 0.0 if overdue else self._alive(running)
            if left is None:
                continue
            if left:
                wait = left if wait is None else min(wait, left)
            else:
                self._report(running)
        return wait

    def _alive(self, running: _CommandRun) -> float:
        """In how many seconds to poll a shell again whose output is closed; 0: it has exited."""
        if running.program.poll() is not None:
            return 0.0
        pause = running.pause
        running.pause = min(pause * 2, _POLL[1])
        return pause

    def _held(self, running: _CommandRun) -> float | None:
        """In how many seconds to poll a program again whose output is open; 0: it is not waited for any longer,
        None: it is, whatever the shell does.
        """
        if self._background is None:
            return None
        now = time.monotonic()
        if running.exited is None:
            if running.program.poll() is None:
                pause = running.pause
                running.pause = min(pause * 2, _POLL_OPEN)
                return pause
            running.exited = now
        return max(0.0, running.exited + self._background - now)

    def kill(self) -> int:
        """Kill all programs; those that were running are reported as ever, within :data:`GRACE` seconds. Transfers are
        cancelled: each is reported as failed, at once.

        :returns: how many process groups there were.
        """
        met = self._end_processes()
        if self._transfers is not None:
            for transfer in self._transfers.cancel():
                transfer.finished("it was killed")
        if self._running:
            self._deadline = time.monotonic() + GRACE
        return len(met)

    def drop(self) -> None:
        """End everything and report nothing."""
        self._end_processes()
        for threads in (self._transfers, self._chores):
            if threads is not None:
                threads.cancel()
        for running in (*self._running, *self._left):
            self._close(running)
            running.program.close()
        self._running.clear()
        self._left.clear()
        self._deadline = None

    def close(self, timeout: float = 0.0) -> None:
        """End everything, for good.

        :param timeout: for how many seconds at most to wait for threads that do not end at once.
        """
        self.drop()
        deadline = time.monotonic() + timeout
        for threads in (self._transfers, self._chores):
            if threads is not None:
                self._selector.unregister(threads.wake)
                threads.close(max(0.0, deadline - time.monotonic()))
        self._transfers = self._chores = None

    def _end_processes(self) -> set[int]:
        if not self._marked:
            return set()
        for running in self._running:
            running.program.poll()
        groups = {running.program.group for running in self._running}
        outputs = [running.program.output for running in (*self._running, *self._left) if running.open]
        met = _processes.end(self._mark, {group for group in groups if group is not None}, outputs)
        self._marked = bool(self._running)
        return met

    def _read(self, running: _CommandRun) -> None:
        for _ in range(_CHUNKS):  # not for ever: the loop has other descriptors
            data = running.program.read()
            if data is None:
                return
            if not data:
                self._close(running)
                if running in self._left:
                    self._left.remove(running)
                    running.program.close()
                return

    def _close(self, running: _CommandRun) -> None:
        if running.open:
            running.open = False
            running.pause = _POLL[0]
            self._selector.unregister(running.program.output)

    def _report(self, running: _CommandRun) -> None:
        self._running.remove(running)
        if not self._running:
            self._deadline = None
        if running.open:
            self._read(running)  # what its shell wrote may still be in the pipe
        if running.open:
            running.program.held = True
            self._left.append(running)
        else:
            running.program.close()
        running.finished(running.program)


def _reason(error: OSError | ImportError) -> str:
    """Why something could not be begun; a module that is imported when it is needed wants a descriptor, too."""
    return getattr(error, "strerror", None) or str(error)
