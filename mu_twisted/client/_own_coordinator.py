"""A program in Python that finds no coordinator starts one for itself here. Knows nothing of jobs.

It serves the same state directory as ``mu run`` and the commands, keeps the records of its jobs there, and ends with
the program, once no job runs.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mu_twisted.base.process_log import ProcessLog
from mu_twisted.client._transport import CoordinatorError
from mu_twisted.daemons import default_state_dir

START_TIME = 60.0
"""Seconds that it may take until it answers."""
END_TIME = 10.0
"""Seconds that it is waited for, where no job keeps it."""
LOG = "coordinator.log"
"""In its state directory."""


class OwnCoordinator:
    """A coordinator in a process and session of its own. Starting it blocks.

    :param state_dir: its state directory; None: this user's.
    :param words: its other options, as ``mu coordinator`` takes them.
    :param answers: whether a coordinator answers in that directory by now.
    :raises CoordinatorError: it does not start; one line of its own.
    """

    def __init__(self, state_dir: Path | None, words: Sequence[str], answers: Callable[[], bool]) -> None:
        directory = state_dir or default_state_dir()
        path = directory / LOG
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            log = ProcessLog(path)
        except OSError as error:
            raise CoordinatorError(f"cannot use the state directory {directory}: {error.strerror}") from None
        command = [sys.executable, "-m", "mu_twisted.daemons.own_coordinator", f"--state-dir={directory}", *words]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log.descriptor, stderr=log.descriptor, start_new_session=True
            )
        finally:
            os.close(log.descriptor)
        try:
            self._wait(answers, log, path)
        except BaseException:
            self.close(0.0)
            raise

    def close(self, limit: float = END_TIME) -> None:
        """Let it end, once no job runs.

        :param limit: seconds to wait for that.
        """
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._process.returncode = 0  # it goes on by itself, and is not waited for

    def _wait(self, answers: Callable[[], bool], log: ProcessLog, path: Path) -> None:
        until = time.monotonic() + START_TIME
        while not answers():
            if self._process.poll() is not None and not answers():  # another process may have been faster
                raise CoordinatorError(log.last_line() or "the coordinator ended and logged nothing")
            if time.monotonic() > until:
                raise CoordinatorError(f"the coordinator did not answer after {START_TIME:g} s; {path} says more")
            time.sleep(0.02)
