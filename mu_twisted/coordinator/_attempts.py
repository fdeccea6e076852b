"""The states of each attempt and when it was in them, kept in memory while it lasts and written when it ends."""

import gzip
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from mu_twisted.fsm import Machine, Outcome
from mu_twisted.transport import ReactorTime
from mu_twisted.wire import MuError

MAX_STATES = 10_000
"""Changes kept of one attempt; the earliest go when there are more (an error is explained by what came last), and the
line says how many are missing."""

Sink = Callable[[bytes], object]
"""Takes one line of JSON, with its end."""


class Attempts:
    """Makes ``{"task": 3, "attempt": 0, "outcome": "done", "states": [[0.0, "3:(...)"], ...]}`` lines.

    The original wrote, for each of its actors, the list of (seconds since start, state).

    :param clock: seconds are counted from this object's making.
    :param sinks: where lines go. One that fails is told of in the log, once, and left out from then on.
    """

    log = Logger()

    def __init__(self, clock: ReactorTime, *sinks: Sink) -> None:
        self._clock = clock
        self._start = clock.seconds()
        self._sinks = list(sinks)
        self._open: dict[tuple[int, int], deque[tuple[float, str]]] = {}
        self._dropped: dict[tuple[int, int], int] = {}

    def watch(self, task: int, attempt: int) -> Callable[[Machine], None]:
        """A function to call whenever the attempt's machine may have changed."""
        states = self._open.setdefault((task, attempt), deque(maxlen=MAX_STATES))

        def look(machine: Machine) -> None:
            text = machine.text
            if not states or states[-1][1] != text:
                if len(states) == MAX_STATES:
                    self._dropped[task, attempt] = self._dropped.get((task, attempt), 0) + 1
                states.append((round(self._clock.seconds() - self._start, 6), text))
            if machine.outcome is not Outcome.RUNNING:
                self._write(task, attempt, machine.outcome.value)

        return look

    def close(self) -> None:
        """Write what has not ended as it is."""
        for task, attempt in list(self._open):
            self._write(task, attempt, Outcome.RUNNING.value)

    def _write(self, task: int, attempt: int, outcome: str) -> None:
        states = self._open.pop((task, attempt), None)
        if states is None:
            return
        line: dict[str, Any] = {"task": task, "attempt": attempt, "outcome": outcome, "states": list(states)}
        dropped = self._dropped.pop((task, attempt), 0)
        if dropped:
            line["dropped"] = dropped
        data = json.dumps(line).encode("ascii") + b"\n"
        for sink in list(self._sinks):
            try:
                sink(data)
            except (OSError, ValueError) as error:
                self._sinks.remove(sink)
                self.log.warn("the states of attempts are not kept from now on: {error}", error=str(error))


class TimesFile:
    """The file of ``-O``: such lines, as they are.

    :param path: of the file.
    :param anew: whether it is begun anew, for a new job; else lines are added, and nothing is looked at before.
    :raises MuError: it cannot be written.
    """

    def __init__(self, path: Path, *, anew: bool = True) -> None:
        self._path = path
        if not anew:
            return
        try:
            path.write_bytes(b"")
        except (OSError, ValueError) as error:
            raise MuError(f"-O {path}: {getattr(error, 'strerror', None) or error}") from None

    def append(self, line: bytes) -> None:
        """:raises OSError: it cannot be written."""
        with self._path.open("ab") as file:
            file.write(line)


class AttemptFile:
    """A file of such lines, each compressed by itself, so that an interrupted one costs no other.

    :param path: of the file; made with the first line, its directory too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, line: bytes) -> None:
        """:raises OSError: it cannot be written."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(gzip.compress(line, 1))

    def read(self, task: int) -> Iterator[dict[str, Any] | None]:
        """The lines of a task, the oldest first, and None for each of another's: there may be many, so that who reads
        may want to pause. What is cut off or damaged ends them.
        """
        start = f'{{"task": {task}, '
        try:
            with gzip.open(self._path, "rt", encoding="ascii") as lines:
                for line in lines:
                    yield json.loads(line) if line.startswith(start) else None
        except (OSError, EOFError, ValueError, zlib.error):
            return
