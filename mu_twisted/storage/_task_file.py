"""A job that does not run has a file of its tasks: to make them of its records takes seconds where they are many.

It says no more than the records and the pipeline do, and how far the records had come: a job that was run again since
has another. Tasks stand in lines of some hundred, and an index at the end says where each is: a page needs few of them.

A job that runs has one now and then, a checkpoint: where its coordinator is killed, the records behind it say what has
changed since (:class:`~mu_twisted.storage._task_changes.TaskChanges`).
"""

import os
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import msgspec

from mu_twisted.base.steps import Steps, uncollected
from mu_twisted.statuses import JobStatus, TaskStatus
from mu_twisted.storage._task_changes import TaskChanges

_FORM = "mu.tasks.2"
LINE = 500
"""Tasks of a line: some are read in each turn."""
_END = 21
"""Bytes of the last line, which says where the index is."""
_encode = msgspec.json.Encoder().encode


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a job that runs had come when its file was written, which took some turns.

    :param last: the number of the last record that tasks were read after; the rest is of the file's ``end``.
    :param checksum: of that record: a journal that has lost its last records, or was put back, goes on with others of
        the same numbers.
    :param room: characters that are left, after ``end``, for errors and remarks of more records.
    """

    last: int
    checksum: int
    room: int


_Changes = Callable[[int, Checkpoint], TaskChanges | None]


def checksum(record: str) -> int:
    """Tells a record of a journal from another with the same number.

    :raises TypeError: it is no text.
    """
    return zlib.crc32(bytes(record, "utf-8"))


@dataclass(frozen=True)
class TaskList:
    """The tasks of a job that is not being run.

    :param tasks: by number.
    :param settled: their numbers, in the order in which they were settled.
    :param again: those that have a result, and were to run again for their messages.
    :param labelled: whether their labels could be asked for.
    :param held: how the job stands, where it is not over.
    :param checkpoint: of a job that runs; None: it does not.
    """

    tasks: Sequence[TaskStatus]
    settled: Sequence[int]
    again: frozenset[int]
    labelled: bool
    held: JobStatus | None = None
    checkpoint: Checkpoint | None = None

    @property
    def count(self) -> int:
        """How many tasks the job has; they are not all here where it runs."""
        return len(self.tasks) if self.held is None else self.held.tasks


class TaskLine(NamedTuple):
    """Some tasks as they stand in the file.

    :param first: the number of the first.
    :param states: that they are in.
    """

    first: int
    text: bytes
    states: Sequence[str]


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
    checkpoint: Checkpoint | None = None


class TaskFile:
    """The file, of which only those lines are read that are asked for. A context manager.

    :param path: of the file.
    :param end: the number of the job's last record.
    :param changes: what the records behind a checkpoint's number have changed, or None for nothing that matters here;
        None: the file is to be no checkpoint.
    :raises TaskFileError: there is none of these records, or it is damaged; reading it may raise that as well.
    """

    def __init__(self, path: Path, end: int, changes: _Changes | None = None) -> None:
        self._decoder = msgspec.json.Decoder(list[TaskStatus])
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise TaskFileError(str(error)) from None
        try:
            self._index = _index_of(self._file)
            index = self._index
            self._changes = _changes_behind(index, end, changes)
        except BaseException:
            self._file.close()
            raise
        self.settled = index.settled
        self.labelled = index.labelled
        self.held = index.held
        self.again = frozenset(index.again)
        self._read: dict[int, list[TaskStatus]] = {}
        if self._changes is not None:
            self._change(self._changes, index)

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
        moved = self._places_of_moved(state)
        for place in range(max(0, self._place(number)), len(self._index.lines)):
            line = self._index.lines[place]
            if state is None or state in line.states or place in moved:
                for task in self._tasks(self._bytes(line)):
                    if task.task >= number and state in (None, task.state):
                        yield task

    def line(self, place: int) -> TaskLine:
        """A line as it stands there.

        :param place: from 0.
        """
        line = self._index.lines[place]
        return TaskLine(line.first, self._bytes(line), line.states)

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

    def _change(self, changes: TaskChanges, index: _TaskIndex) -> None:
        if index.again:
            raise TaskFileError("its tasks depend on one another")
        if index.held is not None:
            done, failed = index.held.done + changes.done, index.held.failed + changes.failed
            waiting = index.held.tasks - done - failed
            self.held = msgspec.structs.replace(index.held, done=done, failed=failed, waiting=waiting)
        self.settled = [*index.settled, *changes.settled]

    def _places_of_moved(self, state: str | None) -> frozenset[int]:
        """The places of lines with tasks that are in this state now and were not when the file was written."""
        if self._changes is None or state is None:
            return frozenset()
        firsts = [line.first for line in self._index.lines]
        return frozenset(bisect_right(firsts, number) - 1 for number in self._changes.moved_to(state))

    def _place(self, number: int) -> int:
        return bisect_right(self._index.lines, number, key=lambda line: line.first) - 1

    def _bytes(self, line: _LinePlace) -> bytes:
        try:
            self._file.seek(line.at)
            return self._file.read(line.size)
        except (OSError, ValueError, OverflowError, MemoryError) as error:
            raise TaskFileError(str(error)) from None

    def _tasks(self, text: bytes) -> list[TaskStatus]:
        try:
            tasks = self._decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise TaskFileError(str(error)) from None
        return tasks if self._changes is None else [self._changes.applied(task) for task in tasks]


def _changes_behind(index: _TaskIndex, end: int, changes: _Changes | None) -> TaskChanges | None:
    checkpoint = index.checkpoint
    if index.form == _FORM and checkpoint is None and index.end == end:
        return None
    if index.form == _FORM and checkpoint is not None and changes is not None and index.end <= checkpoint.last <= end:
        return changes(index.end, checkpoint)
    raise TaskFileError("it is of other records")


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


def task_line(tasks: Sequence[TaskStatus]) -> TaskLine:
    """A line of these tasks, :data:`LINE` of them but in the last one.

    :raises UnicodeEncodeError: an error of one is no Unicode.
    """
    return TaskLine(tasks[0].task, _encode(tasks) + b"\n", sorted({task.state for task in tasks}))


def writing_tasks(path: Path, end: int, found: TaskList) -> Steps[None]:
    """Write the file; where that fails, there is none.

    :param end: the number of the job's last record.
    """
    lines = (task_line(found.tasks[first : first + LINE]) for first in range(0, len(found.tasks), LINE))
    yield from writing_lines(path, end, lines, lambda: found)


def writing_lines(
    path: Path, end: int, lines: Iterable[TaskLine], completed: Callable[[], TaskList | None]
) -> Steps[bool]:
    """Write the file of lines that are made one after the other; where they cannot be, it stays as it was.

    :param end: the number of the record that all but the tasks is of.
    :param completed: called behind the last line, for all but the tasks; None: there is to be no file.
    :returns: whether it is there.
    """
    partial = path.with_name(f"{path.name}.new")
    places: list[_LinePlace] = []
    at = 0
    try:
        partial.unlink(missing_ok=True)  # one that was left behind may still be written to
        with partial.open("xb") as file:
            for line in lines:
                file.write(line.text)
                places.append(_LinePlace(line.first, at, len(line.text), line.states))
                at += len(line.text)
                yield
            found = completed()
            if found is not None:
                index = _TaskIndex(
                    _FORM,
                    end,
                    found.count,
                    list(found.settled),
                    sorted(found.again),
                    found.labelled,
                    places,
                    found.held,
                    found.checkpoint,
                )
                file.write(_encode(index) + b"\n" + b"%020d\n" % at)
        partial.unlink() if found is None else partial.replace(path)
        return found is not None
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if not isinstance(error, OSError | UnicodeEncodeError | TaskFileError):  # an error may quote anything
            raise
        return False
