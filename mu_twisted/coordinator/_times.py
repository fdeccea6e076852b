"""``-O``: each task's states and when it was in them, one JSON line for each attempt."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO

from mu_twisted.fsm import Machine, Outcome
from mu_twisted.transport import ReactorTime

MAX_STATES = 10_000
"""Changes kept of one attempt; the latest go when there are more, and the line says so."""


class StateTimes:
    """Writes ``{"task": 3, "attempt": 0, "outcome": "done", "states": [[0.0, "3:(...)"], ...]}`` lines.

    The original wrote, for each of its actors, the list of (seconds since start, state).

    :param path: file to write; it is opened at once.
    :param clock: seconds are counted from this object's making.
    :raises OSError: the file cannot be written.
    """

    def __init__(self, path: Path, clock: ReactorTime) -> None:
        self._clock = clock
        self._start = clock.seconds()
        self._file: IO[str] = path.open("w", encoding="utf-8", errors="backslashreplace")
        self._open: dict[tuple[int, int], list[tuple[float, str]]] = {}
        self._dropped: dict[tuple[int, int], int] = {}

    def watch(self, task: int, attempt: int) -> Callable[[Machine], None]:
        """A function to call whenever the attempt's machine may have changed."""
        states = self._open.setdefault((task, attempt), [])

        def look(machine: Machine) -> None:
            text = machine.text
            if not states or states[-1][1] != text:
                if len(states) < MAX_STATES:
                    states.append((round(self._clock.seconds() - self._start, 6), text))
                else:
                    self._dropped[task, attempt] = self._dropped.get((task, attempt), 0) + 1
            if machine.outcome is not Outcome.RUNNING:
                self._write(task, attempt, machine.outcome.value)

        return look

    def close(self) -> None:
        """Write what has not ended as it is, and close the file."""
        if self._file.closed:
            return
        for task, attempt in list(self._open):
            self._write(task, attempt, Outcome.RUNNING.value)
        self._file.close()

    def _write(self, task: int, attempt: int, outcome: str) -> None:
        states = self._open.pop((task, attempt), None)
        if states is None:
            return
        line = {"task": task, "attempt": attempt, "outcome": outcome, "states": states}
        dropped = self._dropped.pop((task, attempt), 0)
        if dropped:
            line["dropped"] = dropped
        self._file.write(json.dumps(line) + "\n")
