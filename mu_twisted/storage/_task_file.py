"""A job that does not run has a file of its tasks: to make them of its records takes seconds where they are many.

It says no more than the records and the pipeline do, and how far the records had come: a job that was run again since
has another. Tasks stand in lines of some hundred, and an index at the end says where each is: a page needs few of them.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from mu_twisted.base.steps import Steps, uncollected
from mu_twisted.statuses import JobStatus, TaskStatus

_FORM = "mu.tasks.2"
_LINE = 500
"""Tasks of a line: some are read in each turn."""
_END = 21
"""Bytes of the last line, which says where the index is."""


@dataclass(frozen=True)
class TaskList:
    """The tasks of a job that is not being run.

    :param tasks: by number.
    :param settled: their numbers, in the order in which they were settled.
    :param again: those that have a result, and were to run again for their messages.
    :param labelled: whether their labels could be asked for.
    :param held: how the job stands, where it is not over.
    """

    tasks: Sequence[TaskStatus]
    settled: Sequence[int]
    again: frozenset[int]
    labelled: bool
    held: JobStatus | None = None


class TaskFileError(Exception):
    """The file cannot be used: it is of other records, or damaged."""


class _LinePlace(msgspec.Struct, array_like=True):
    """Where a line of tasks is.

    :param first: the number of its first task.
    :param states: that its tasks are in.
    """

    first: int
    at: int
    size: int
    states: Sequence[str]


class _TaskIndex(msgspec.Struct):
    form: str
    end: int
    tasks: int
    settled: Sequence[int]
    again: Sequence[int]
    labelled: bool
    lines: Sequence[_LinePlace]
    held: JobStatus | None = None


class TaskFile:
    """The file, of which only those lines are read that are asked for. A context manager.

    :param path: of the file.
    :param end: the number of the job's last record.
    :raises TaskFileError: there is none of these records, or it is damaged; reading it may raise that as well.
    """

    def __init__(self, path: Path, end: int) -> None:
        self._decoder = msgspec.json.Decoder(list[TaskStatus])
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise TaskFileError(str(error)) from None
        try:
            self._index = _index_of(self._file)
            if self._index.form != _FORM or self._index.end != end:
                raise TaskFileError("it is of other records")
        except BaseException:
            self._file.close()
            raise
        self.settled = self._index.settled
        self.labelled = self._index.labelled
        self.held = self._index.held
        self.again = frozenset(self._index.again)
        self._read: dict[int, list[TaskStatus]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read no more of it."""
        self._file.close()

    def reading(self) -> Steps[TaskList]:
        """All of it.

        :raises TaskFileError: it is damaged.
        """
        tasks: list[TaskStatus] = []
        numbers: set[int] = set()
        for line in self._index.lines:
            with uncollected():
                some = self._tasks(self._bytes(line))
            tasks += some
            numbers.update(task.task for task in some)
            yield
        if len(tasks) != self._index.tasks or not numbers.issuperset(self.settled):
            raise TaskFileError("tasks are missing")
        return TaskList(tasks, self.settled, self.again, self.labelled, self.held)

    def tasks_from(self, number: int, state: str | None = None) -> Iterator[TaskStatus]:
        """The tasks from this number on, by number; with a state only those in it.

        :raises TaskFileError: it is damaged.
        """
        for line in self._index.lines[max(0, self._place(number)) :]:
            if state is None or state in line.states:
                for task in self._tasks(self._bytes(line)):
                    if task.task >= number and state in (None, task.state):
                        yield task

    def task(self, number: int) -> TaskStatus:
        """One task; lines that were read are kept.

        :raises TaskFileError: there is none of this number, or it is damaged.
        """
        place = self._place(number)
        if place < 0:
            raise TaskFileError(f"it has no task {number}")
        if place not in self._read:
            self._read[place] = self._tasks(self._bytes(self._index.lines[place]))
        for task in self._read[place]:
            if task.task == number:
                return task
        raise TaskFileError(f"it has no task {number}")

    def with_label(self, label: str) -> list[TaskStatus]:
        """The tasks with this label.

        :raises TaskFileError: it is damaged.
        """
        wanted = b'"label":' + msgspec.json.encode(label)  # as it was written; a quote within a text has a \ before it
        some = (text for text in map(self._bytes, self._index.lines) if wanted in text)
        return [task for text in some for task in self._tasks(text) if task.label == label]

    def _place(self, number: int) -> int:
        return bisect_right(self._index.lines, number, key=lambda line: line.first) - 1

    def _bytes(self, line: _LinePlace) -> bytes:
        try:
            self._file.seek(line.at)
            return self._file.read(line.size)
        except (OSError, ValueError, OverflowError) as error:
            raise TaskFileError(str(error)) from None

    def _tasks(self, text: bytes) -> list[TaskStatus]:
        try:
            return self._decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise TaskFileError(str(error)) from None


def _index_of(file: BinaryIO) -> _TaskIndex:
    try:
        end = file.seek(-_END, os.SEEK_END)
        at = int(file.read(_END))
        file.seek(at)
        return msgspec.json.decode(file.read(end - at), type=_TaskIndex)
    except (OSError, ValueError, OverflowError, msgspec.MsgspecError, RecursionError) as error:
        raise TaskFileError(str(error)) from None


def reading_tasks(path: Path, end: int) -> Steps[TaskList | None]:
    """Read the file.

    :param end: the number of the job's last record.
    :returns: None: there is none, or it is of other records, or damaged.
    """
    try:
        with TaskFile(path, end) as file:
            return (yield from file.reading())
    except TaskFileError:
        return None


def is_held_so(path: Path, end: int, status: JobStatus) -> bool:
    """Whether the file says of a job that is held how it stands, and what its tasks are called.

    :param end: the number of the job's last record.
    """
    try:
        with TaskFile(path, end) as file:
            return file.labelled and msgspec.json.encode(file.held) == msgspec.json.encode(status)
    except TaskFileError:
        return False


def writing_tasks(path: Path, end: int, found: TaskList) -> Steps[None]:
    """Write the file; where that fails, there is none."""
    encode = msgspec.json.Encoder().encode
    partial = path.with_name(f"{path.name}.new")
    lines: list[_LinePlace] = []
    at = 0
    try:
        with partial.open("wb") as file:
            for first in range(0, len(found.tasks), _LINE):
                some = found.tasks[first : first + _LINE]
                text = encode(some) + b"\n"
                file.write(text)
                lines.append(_LinePlace(some[0].task, at, len(text), sorted({task.state for task in some})))
                at += len(text)
                yield
            settled, again = list(found.settled), sorted(found.again)
            index = _TaskIndex(_FORM, end, len(found.tasks), settled, again, found.labelled, lines, found.held)
            file.write(encode(index) + b"\n" + b"%020d\n" % at)
        partial.replace(path)
    except (OSError, UnicodeEncodeError):  # an error may quote anything
        with suppress(OSError):
            partial.unlink()
