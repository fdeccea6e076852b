"""A job that is over has a file of its tasks: to make them of its records takes seconds where they are many.

It says no more than the records do, and how far these had come: a job that was run again since has another.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mu_twisted.base.steps import Steps, uncollected
from mu_twisted.statuses import TaskStatus

_FORM = "mu.tasks.1"
_LINE = 500
"""Tasks of a line: some are read in each turn."""


@dataclass(frozen=True)
class TaskList:
    """The tasks of a job that is not being run.

    :param tasks: by number.
    :param settled: their numbers, in the order in which they were settled.
    :param again: those that have a result, and were to run again for their messages.
    """

    tasks: Sequence[TaskStatus]
    settled: Sequence[int]
    again: frozenset[int]


class _Head(msgspec.Struct):
    form: str
    end: int
    tasks: int
    settled: Sequence[int]
    again: Sequence[int]


def reading_tasks(path: Path, end: int) -> Steps[TaskList | None]:
    """Read the file.

    :param end: the number of the job's last record.
    :returns: None: there is none, or it is of other records, or damaged.
    """
    lines = msgspec.json.Decoder(list[TaskStatus])
    tasks: list[TaskStatus] = []
    numbers: set[int] = set()
    try:
        with path.open("rb") as file:
            head = msgspec.json.decode(file.readline(), type=_Head)
            if head.form != _FORM or head.end != end:
                return None
            for line in file:
                with uncollected():
                    tasks += lines.decode(line)
                numbers.update(task.task for task in tasks[len(numbers) :])
                yield
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if len(tasks) != head.tasks or not numbers.issuperset(head.settled):
        return None
    return TaskList(tasks, head.settled, frozenset(head.again))


def writing_tasks(path: Path, end: int, found: TaskList) -> Steps[None]:
    """Write the file; where that fails, there is none."""
    encode = msgspec.json.Encoder().encode
    head = _Head(_FORM, end, len(found.tasks), list(found.settled), sorted(found.again))
    partial = path.with_name(f"{path.name}.new")
    try:
        with partial.open("wb") as file:
            file.write(encode(head) + b"\n")
            for first in range(0, len(found.tasks), _LINE):
                file.write(encode(found.tasks[first : first + _LINE]) + b"\n")
                yield
        partial.replace(path)
    except (OSError, UnicodeEncodeError):  # an error may quote anything
        with suppress(OSError):
            partial.unlink()
